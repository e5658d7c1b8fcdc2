"""What executes a graph."""
