"""Lesion masks without learning, to begin a training with: rough ones, called bronze."""
