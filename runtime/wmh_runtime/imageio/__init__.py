"""Read and write NIfTI images."""
