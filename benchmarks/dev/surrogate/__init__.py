"""A network of the size of MedSAM, trained here, to measure with where its weights are missing."""
