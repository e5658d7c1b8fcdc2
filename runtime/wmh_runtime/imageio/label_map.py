"""Tell scans from masks and label maps by their values, whatever their names say."""

from __future__ import annotations

import numpy as np

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.volume import Scan

_MAX_LABELS = 8  # an 8-bit scan has dozens of values
_SAMPLED_VOXELS = 4096  # enough to see that there are more


def require_intensities(scan: Scan) -> None:
    """Check that an image is not a mask or a label map: a few whole values and nothing else.

    Raises:
        InputError: it is.
    """
    voxels = scan.voxels.ravel(order="K")
    for step in (1 + voxels.size // _SAMPLED_VOXELS, 1):
        values = np.unique(voxels[::step])
        if values.size > _MAX_LABELS:
            return
    if np.array_equal(values, np.round(values)):
        shown = ", ".join(f"{value:g}" for value in values)
        problem = f"is a mask or a label map: all of its voxels are {shown}"
        raise InputError(problem, "Give the scan itself.", about=scan.path)
