"""What the commands of `wmh-train` do, and what they print."""
