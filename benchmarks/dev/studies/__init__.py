"""Questions that are answered by training several networks and comparing their masks."""
