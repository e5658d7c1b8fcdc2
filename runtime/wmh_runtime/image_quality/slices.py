"""The scan, the head and the regions as a stack of the slices that were acquired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.orientation import Reorientation, axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.regions import BRAIN, WHITE
from wmh_runtime.preprocessing.intensity.background import constant_background
from wmh_runtime.preprocessing.slices.planes import PLANES, from_axial
from wmh_runtime.types import Floats, Mask

LEAST_VOXELS = 500  # of a region; a median of fewer says little
_THICKER = 1.25  # times the shortest voxel axis: the scan was acquired in slices across the longest
_AXIAL_SIDES = (("bottom", "top"), ("front", "back"), ("right", "left"))
_DARK_PERCENTILE = 1.0  # of the head
# Of white matter. It is −0.001 to 0.11 in 16 scans and 24 phantoms: interpolation makes few voxels
# negative. After z-scoring it is below −1.6, or white matter is negative.
_LOWEST_DARK = -0.05


@dataclass(frozen=True, eq=False)
class Slices:
    """A stack of slices; every volume is (slices, rows, columns).

    The slices are those across the longest voxel axis. If the voxels are about as long along all
    axes, they are axial.
    """

    stack: Floats  # any intensity scale
    spacing_mm: tuple[float, float, float]  # along slices, rows and columns
    sides: tuple[tuple[str, str], ...]  # where each axis begins and ends, such as bottom and top
    background: Mask  # constant, not measured
    head: Mask
    brain: Mask  # empty if not known, as white matter
    white: Mask  # white matter of the cerebrum, without lesions
    white_level: float | None  # intensity of white matter; None: not known

    @classmethod
    def of(
        cls,
        scan: Scan,
        head: Mask,
        regions: Mapping[str, Mask],
        lesions: NDArray[Any],
        background: Mask | None = None,
    ) -> Self:
        """Bring volumes on the grid of a scan, (x, y, z), to its slices; see `measure_quality`."""
        axial = axial_reorientation(scan.affine)
        from_axial_stack = _to_acquired(axial.order(scan.spacing_mm))
        reorientation = axial.then(from_axial_stack)
        to_stack = reorientation.apply  # a view: large scans take much memory

        def region(name: str) -> Mask:
            mask = regions.get(name)
            return np.zeros(scan.shape, np.bool_) if mask is None else mask

        stack = to_stack(scan.voxels)
        white = region(WHITE) & (lesions == 0)
        white_level = _white_level(scan, head, white)
        return cls(
            stack=stack,
            spacing_mm=reorientation.order(scan.spacing_mm),
            sides=_sides(from_axial_stack),
            background=constant_background(stack) if background is None else to_stack(background),
            head=to_stack(head),
            brain=to_stack(region(BRAIN)),
            white=to_stack(white),
            white_level=white_level,
        )


def _to_acquired(axial_spacing_mm: tuple[float, float, float]) -> Reorientation:
    """Find the reorientation from axial slices to those that were acquired."""
    longest = int(np.argmax(axial_spacing_mm))
    if max(axial_spacing_mm) < _THICKER * min(axial_spacing_mm):
        longest = 0
    (plane,) = (one for one in PLANES if from_axial(one).axes[0] == longest)
    return from_axial(plane)


def _sides(from_axial_stack: Reorientation) -> tuple[tuple[str, str], ...]:
    """Return where each axis begins and ends."""
    return tuple(
        (second, first) if flip else (first, second)
        for flip, (first, second) in zip(
            from_axial_stack.flipped, from_axial_stack.order(_AXIAL_SIDES), strict=True
        )
    )


def _white_level(scan: Scan, head: Mask, white: Mask) -> float | None:
    """Return the median of white matter; None if there is too little, or if 0 is not dark."""
    if not head.any() or np.count_nonzero(white) < LEAST_VOXELS:
        return None
    dark = float(np.percentile(scan.voxels[head], _DARK_PERCENTILE, overwrite_input=True))
    level = float(np.median(scan.voxels[white], overwrite_input=True))
    return level if level > 0 and dark >= _LOWEST_DARK * level else None
