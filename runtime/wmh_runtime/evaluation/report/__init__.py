"""The report of an evaluation: tables, plots, pictures."""
