"""Draw measurements as PNG."""
