"""Measure the speed, memory and parity of a bundle in every backend and precision."""
