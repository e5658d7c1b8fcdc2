"""The consensus of several masks of a scan: silver masks."""
