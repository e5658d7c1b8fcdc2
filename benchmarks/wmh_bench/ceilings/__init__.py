"""What a device could reach at most."""
