"""Measurements for developers of this project: regressions, training, pipeline."""
