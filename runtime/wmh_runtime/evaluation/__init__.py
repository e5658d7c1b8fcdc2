"""Evaluation: compare predicted masks with reference masks."""
