"""Questions that are answered by an experiment, most by training several networks."""
