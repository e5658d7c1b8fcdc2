"""A procedural head: raw FLAIR-like scans with exact lesion masks, from a seed and nothing else."""
