"""Object storage: list, read and write objects, and keep copies of them on this machine."""
