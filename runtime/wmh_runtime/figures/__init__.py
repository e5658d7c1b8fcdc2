"""Draw slices, text and plots."""
