"""A whole training, in one or more stages: checks, history, and the checkpoint that is written."""
