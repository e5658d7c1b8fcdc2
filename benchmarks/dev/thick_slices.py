"""Average isotropic scans to thicker slices, to measure what a mask loses with thick slices."""

from __future__ import annotations

import numpy as np

from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.imageio.volume import Scan, scan_from_array
from wmh_runtime.types import Floats

_MAX_ISOTROPIC_MM = 1.5


def is_isotropic(scan: Scan) -> bool:
    """Say whether a scan has voxels that are small along all axes."""
    return max(scan.spacing_mm) <= _MAX_ISOTROPIC_MM


def with_thick_slices(scan: Scan, reference: Reference, mm: float) -> tuple[Scan, Reference]:
    """Average a scan and its reference mask to thicker axial slices.

    Args:
        scan: isotropic.
        reference: on its grid.
        mm: distance of the slices; that of the result is the nearest multiple of the scan's own.

    Returns:
        Both. A voxel is a lesion if at least half of it was.
    """
    axis = axial_reorientation(scan.affine).axes[0]
    count = max(1, round(mm / scan.spacing_mm[axis]))
    factors = np.ones(4)
    factors[axis] = count
    affine = scan.affine @ np.diag(factors)
    affine[:3, 3] += (count - 1) / 2 * scan.affine[:3, axis]
    lesion, ignored = (
        averaged(mask.astype(np.float32), axis, count) >= 0.5
        for mask in (reference.lesion, reference.ignored)
    )
    thick = scan_from_array(averaged(scan.voxels, axis, count), affine)
    return thick, Reference(lesion, ignored)


def averaged(volume: Floats, axis: int, count: int) -> Floats:
    """Average each `count` neighbors along an axis. What is left at the end is dropped."""
    last = np.moveaxis(volume, axis, -1)
    slabs = last.shape[-1] // count
    parts = last[..., : slabs * count].reshape(*last.shape[:-1], slabs, count)
    mean: Floats = np.moveaxis(parts.mean(axis=-1, dtype=np.float32), -1, axis)
    return np.ascontiguousarray(mean)
