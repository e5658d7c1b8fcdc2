"""The training loop, its losses and schedule, validation, processes and resume."""
