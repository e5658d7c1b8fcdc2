"""Brain that is cut off by the border of the image."""

from __future__ import annotations

import numpy as np

from wmh_runtime.image_quality.slices import Slices


def largest_cut_percent(slices: Slices) -> tuple[float | None, str]:
    """Return the largest section of the brain at a side of the image, and the name of the side.

    The section is in percent of the largest one across the same axis. A border of constant
    background is not part of the image. None: the brain is not known.
    """
    if not slices.brain.any():
        return None, ""
    cuts: list[tuple[float, str]] = []
    for axis, sides in enumerate(slices.sides):
        others = tuple(other for other in range(3) if other != axis)
        areas = np.count_nonzero(slices.brain, axis=others)
        measured = np.flatnonzero(~slices.background.all(axis=others))
        cuts += [
            (100 * float(areas[measured[end]]) / float(areas.max()), side)
            for end, side in zip((0, -1), sides, strict=True)
        ]
    return max(cuts)
