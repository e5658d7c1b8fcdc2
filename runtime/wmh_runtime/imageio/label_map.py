"""Tell scans from masks and label maps by their values, whatever their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError

_MAX_LABELS = 8  # an 8-bit scan has dozens of values
_SAMPLED_VOXELS = 4096  # enough to see that there are more


def require_intensities(voxels: NDArray[np.float32], path: Path) -> None:
    """Check that an image is not a mask or a label map: a few values and nothing else.

    Args:
        voxels: (x, y, z), finite.
        path: file name in messages.

    Raises:
        InputError: it is.
    """
    labels = find_labels(voxels)
    if labels is None:
        return
    shown = ", ".join(f"{value:g}" for value in labels)
    problem = f"is a mask or a label map: all of its voxels are {shown}"
    raise InputError(problem, "Give the scan itself.", about=path)


def find_labels(voxels: NDArray[np.float32]) -> list[float] | None:
    """Return the values of a mask or a label map, in ascending order; None if it is neither."""
    flat = voxels.ravel(order="K")
    for step in (1 + flat.size // _SAMPLED_VOXELS, 1):
        values = np.unique(flat[::step])
        if values.size > _MAX_LABELS:
            return None
    found: list[float] = values.tolist()
    return found
