"""One case: its images, its corrected masks, an atlas for it, the memory it needs."""
