"""The tables of an output folder, each with a dictionary of its columns."""
