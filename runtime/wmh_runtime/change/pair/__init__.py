"""Bring two visits to their halfway space, and match their lesions."""
