"""Random geometric and intensity augmentation of training slices."""
