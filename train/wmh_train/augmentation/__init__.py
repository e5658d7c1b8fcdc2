"""Random views, shapes and contrasts of training slices."""
