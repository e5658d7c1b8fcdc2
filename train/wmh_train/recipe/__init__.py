"""The recipe: all settings of a training."""
