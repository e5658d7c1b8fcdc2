"""Drawing slices, text and plots."""
