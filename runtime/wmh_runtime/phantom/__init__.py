"""Phantoms: synthetic FLAIR-like head scans with exact lesion masks, generated from a seed."""
