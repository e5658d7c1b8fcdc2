"""The report of a whole run: one HTML file to look at the results and to mark them."""
