"""Which files are scans, whose they are, and what they are called."""
