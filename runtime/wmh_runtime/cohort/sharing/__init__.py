"""What the runs on one output folder share: parts of the work, claims, failures, status, tables."""
