"""Cut a part of the brain off a scan, as with a field of view that is too small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.types import Mask

CUTS_MM = (10.0, 20.0, 30.0)
# The axis of a stack of axial slices, and whether its end is cut off, not its beginning.
SIDES: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {"bottom": (0, False), "top": (0, True), "front": (1, False), "left": (2, True)}
)


def cut_off(scan: Scan, brain: Mask, side: str, mm: float) -> Scan:
    """Remove a side of the image, so that the brain loses a length.

    Args:
        scan: the whole head.
        brain: (x, y, z), on its grid.
        side: a name in `SIDES`.
        mm: length of the brain that is lost.
    """
    stack_axis, at_end = SIDES[side]
    reorientation = axial_reorientation(scan.affine)
    axis = reorientation.axes[stack_axis]
    at_end ^= reorientation.flipped[stack_axis]
    others = tuple(other for other in range(3) if other != axis)
    in_brain = np.flatnonzero(brain.any(axis=others))
    lost = round(mm / scan.spacing_mm[axis])
    first, stop = 0, scan.shape[axis]
    if at_end:
        stop = int(in_brain[-1]) + 1 - lost
    else:
        first = int(in_brain[0]) + lost
    affine = scan.affine.copy()
    affine[:3, 3] += first * affine[:3, axis]
    kept = scan.voxels.take(range(first, stop), axis)
    return replace(scan, voxels=np.asfortranarray(kept), affine=affine)
