"""The commands of `wmh-bench`."""
