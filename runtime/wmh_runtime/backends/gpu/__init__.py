"""GPUs: an interface, and the libraries that drive GPUs."""
