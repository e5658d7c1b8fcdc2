"""Annotated scans: find their files, split them by subject, cache their preprocessed slices."""
