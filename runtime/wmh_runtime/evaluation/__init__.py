"""Compare masks with reference masks."""
