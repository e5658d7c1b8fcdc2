"""Intensities of a scan: background, bias field, normalization."""
