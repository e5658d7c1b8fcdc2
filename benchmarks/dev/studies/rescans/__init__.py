"""How much lesions differ between scans of one head without change, and which changes are found."""
