"""Slices with simple numbers."""

import numpy as np

from wmh_runtime.image_quality.slices import Slices

AXIAL_SIDES = (("bottom", "top"), ("front", "back"), ("right", "left"))


def toy_slices(stack, spacing_mm=(4.0, 1.0, 1.0), white_level=100.0, **masks) -> Slices:
    """Slices of a head that fills the image; regions that are not given are empty."""
    stack = np.asarray(stack, np.float32)
    given = {name: np.zeros(stack.shape, bool) for name in ("background", "brain", "white")}
    given["head"] = np.ones(stack.shape, bool)
    return Slices(stack, spacing_mm, AXIAL_SIDES, white_level=white_level, **(given | masks))
