"""Data sets: find the scans, read file names, subjects and sites."""
