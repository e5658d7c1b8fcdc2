"""Contrast of the cortex to white matter.

In FLAIR the cortex is a little brighter than white matter. It is thin, and dark fluid is beside it:
blur makes it darker.
"""

from __future__ import annotations

import numpy as np

from wmh_runtime.image_quality.slices import LEAST_VOXELS, Slices


def contrast_percent(slices: Slices) -> float | None:
    """Return the median of the cortex minus that of white matter, in percent of the latter.

    None: one of them is not known.
    """
    level = slices.white_level
    if level is None:
        return None
    if min(np.count_nonzero(one) for one in (slices.white, slices.cortex)) < LEAST_VOXELS:
        return None
    return 100 * (float(np.median(slices.stack[slices.cortex])) / level - 1)
