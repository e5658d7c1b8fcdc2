"""The training loop, its losses and schedule, validation, checkpoints and resume."""
