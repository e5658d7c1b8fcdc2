"""Prove that a backend computes what the trained network computes."""
