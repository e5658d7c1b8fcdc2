"""Libraries that need a GPU, as far as they are used here, with the memory of the host."""
