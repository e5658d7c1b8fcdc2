"""Bundles: exported models on disk."""
