"""The recipe: everything that decides a training."""
