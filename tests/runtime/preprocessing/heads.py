"""Small heads of known shape."""

import numpy as np


def head_in_noise(shape=(6, 60, 50), noise=20.0, seed=0):
    """A bright ellipse with a dark hole, in air with Rayleigh noise; returns image and ellipse."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    ellipse = ((rows - 30) / 24) ** 2 + ((columns - 24) / 18) ** 2 <= 1
    hole = ((rows - 30) / 8) ** 2 + ((columns - 24) / 5) ** 2 <= 1
    clean = np.broadcast_to(400.0 * (ellipse & ~hole), shape)
    noisy = np.hypot(clean + rng.normal(0, noise, shape), rng.normal(0, noise, shape))
    return noisy.astype(np.float32), np.broadcast_to(ellipse, shape)
