"""Slices of eight views on a GPU: its ceilings, and ways to execute them."""
