"""Compare a small network with the large one that taught it."""
