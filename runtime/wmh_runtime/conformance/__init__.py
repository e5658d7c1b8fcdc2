"""Compare backends with the reference outputs of the trained network."""
