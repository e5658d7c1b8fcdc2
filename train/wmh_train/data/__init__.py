"""Annotated scans: where they lie, who is on which side, and their prepared slices on disk."""
