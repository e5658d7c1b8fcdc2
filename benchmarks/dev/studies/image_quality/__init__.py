"""Measure which artifacts, of which strength, the measures of image quality find."""
