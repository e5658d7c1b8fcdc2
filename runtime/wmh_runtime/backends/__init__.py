"""Backends: libraries that execute a network graph."""
