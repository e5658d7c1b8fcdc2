"""Run a network on prepared slices."""
