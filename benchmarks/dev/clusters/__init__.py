"""Run with several processes and clusters on one machine, disturb them, and compare the results."""
