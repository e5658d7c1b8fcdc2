"""The bundle: an exported model on disk."""
