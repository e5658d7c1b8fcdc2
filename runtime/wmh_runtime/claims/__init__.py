"""Claims: several runs share one folder, and no two work on the same thing at a time."""
