"""Reference masks, drawn by raters: lesions, and voxels that are ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, on_grid_of
from wmh_runtime.types import Mask

LESION = 1  # labels of the WMH segmentation challenge
OTHER_PATHOLOGY = 2

_MIN_LESION_FRACTION = 0.5
_ROUNDING = 1e-3  # labels that are stored as fractions of 255 are not quite whole


@dataclass(frozen=True)
class Reference:
    """A reference mask on the grid of its scan."""

    lesion: Mask  # (x, y, z)
    ignored: Mask  # (x, y, z), other pathology: not used in training and evaluation


def read_reference(path: Path, scan: Scan | None = None) -> Reference:
    """Read a reference mask, see `reference_from_mask`.

    Args:
        path: the mask file.
        scan: the scan of the mask; the result is in its order of voxels. None: the grids are not
            compared.

    Raises:
        InputError: the file cannot be read, has other values, or is on another grid.
    """
    mask = read_scan(path, allow_constant=True)
    return reference_from_mask(mask if scan is None else on_grid_of(mask, scan))


def read_probability(path: Path, scan: Scan) -> NDArray[np.float32]:
    """Read a map of probabilities from 0 to 1, (x, y, z), in the order of the voxels of its scan.

    Raises:
        InputError: the file cannot be read, has other values, or is on another grid.
    """
    voxels = on_grid_of(read_scan(path, allow_constant=True), scan).voxels
    lowest, highest = float(voxels.min()), float(voxels.max())
    if lowest < -_ROUNDING or highest > 1 + _ROUNDING:
        raise InputError(
            f"has values from {lowest:.3g} to {highest:.3g}, expected probabilities from 0 to 1",
            "Give the map of probabilities as it was written.",
            about=path,
        )
    return voxels


def reference_from_mask(mask: Scan) -> Reference:
    """Split a mask into lesion and ignored voxels.

    Either all values are the labels 0 (background), 1 (lesion) and 2 (other pathology, ignored). Or
    all are in [0, 1], as in a smoothed or resampled mask of a single label: lesion from 0.5.

    Raises:
        InputError: the mask has other values. Fractions beside the label 2 are refused, because a
            fraction may be a part of either label.
    """
    voxels = mask.voxels
    rounded = np.rint(voxels)
    if np.abs(voxels - rounded).max() > _ROUNDING:
        return _from_fractions(mask)
    unknown = rounded[(rounded < 0) | (rounded > OTHER_PATHOLOGY)]
    if unknown.size:
        raise InputError(
            f"contains the label {unknown[0]:g}, expected 0, 1 (lesion) and 2 (ignored)",
            "Give a mask with these labels.",
            about=mask.path,
        )
    return Reference(lesion=rounded == LESION, ignored=rounded == OTHER_PATHOLOGY)


def _from_fractions(mask: Scan) -> Reference:
    lowest, highest = float(mask.voxels.min()), float(mask.voxels.max())
    if lowest < -_ROUNDING or highest > LESION + _ROUNDING:
        raise InputError(
            f"has fractions from {lowest:.3g} to {highest:.3g}, expected the labels 0, 1 (lesion)"
            " and 2 (ignored), or fractions from 0 to 1 of a single label",
            "Give the mask as drawn, or resample it with nearest-neighbor interpolation.",
            about=mask.path,
        )
    lesion = mask.voxels >= _MIN_LESION_FRACTION
    return Reference(lesion=lesion, ignored=np.zeros_like(lesion))
