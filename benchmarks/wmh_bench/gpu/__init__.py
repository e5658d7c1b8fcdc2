"""Slices of eight views on a GPU: its ceilings, and all ways to execute them."""
