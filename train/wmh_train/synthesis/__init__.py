"""Synthetic heads from label maps: FLAIR and T1 of one anatomy, with lesions and regions."""
