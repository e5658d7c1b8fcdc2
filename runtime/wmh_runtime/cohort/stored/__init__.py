"""Scans and results in object storage: their copies on this machine, while they are needed."""
