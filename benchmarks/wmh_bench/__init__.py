"""Measure the accuracy, speed and memory of a bundle."""
