"""Measure durations and memory."""
