"""Preprocessing: from a scan to network input."""
