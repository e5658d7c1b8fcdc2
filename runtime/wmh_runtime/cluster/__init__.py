"""Run on several machines: as a job array of Slurm, or on a Ray cluster."""
