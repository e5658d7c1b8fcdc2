"""Measure times, memory and GPU copies."""
