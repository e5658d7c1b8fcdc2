"""From a volume to network input."""
