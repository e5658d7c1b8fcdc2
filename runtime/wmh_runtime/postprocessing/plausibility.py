"""Check whether lesions look like white matter hyperintensities; if not, warn with the number.

The checks find scans of another contrast, or images that are no head. They cannot find a wrong
lesion: most scans of other contrasts give plausible lesions somewhere.
"""

from __future__ import annotations

import numpy as np

from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import Lesions
from wmh_runtime.types import Mask

_RIM_MM = 8.0  # skin, skull and cerebrospinal fluid are about as thick
_MAX_RIM_SHARE = 0.25  # of the volume; 0.00 to 0.21 on eleven FLAIR scans, up to 1.00 on T1


def plausibility_warnings(name: str, scan: Scan, head: Mask, lesions: Lesions) -> list[str]:
    """Return a warning for each reason to doubt the lesions of one output.

    Args:
        name: of the output, such as `wmh`.
        scan: the first channel.
        head: (x, y, z).
        lesions: on the same grid.
    """
    mask = lesions.mask.astype(bool)
    if not mask.any():
        return []
    warnings = []
    lesion_median, head_median = (float(np.median(scan.voxels[part])) for part in (mask, head))
    if lesion_median < head_median:
        warnings.append(
            f"the {name} lesions are darker (median {lesion_median:g}) than the head (median"
            f" {head_median:g}): check that the scan is a FLAIR"
        )
    share = _share_near_surface(scan, head, mask)
    if share > _MAX_RIM_SHARE:
        warnings.append(
            f"{share:.0%} of the {name} volume lies within {_RIM_MM:g} mm of the surface of the"
            " head: check the masks, and that the scan is a FLAIR of a head"
        )
    return warnings


def _share_near_surface(scan: Scan, head: Mask, mask: Mask) -> float:
    """Return the share of a mask whose distance to the head's surface, within its slice, is small.

    The distance is measured along rows and columns.
    """
    reorientation = axial_reorientation(scan.affine)
    head, mask = reorientation.apply(head), reorientation.apply(mask)
    slices = mask.any(axis=(1, 2))
    deep, mask = head[slices], mask[slices]
    for axis in (1, 2):
        spacing_mm = scan.spacing_mm[reorientation.axes[axis]]
        deep = _eroded(deep, axis, round(_RIM_MM / spacing_mm))
    return 1 - np.count_nonzero(mask & deep) / np.count_nonzero(mask)


def _eroded(mask: Mask, axis: int, margin: int) -> Mask:
    """Keep the voxels with `margin` voxels of the mask on both sides along an axis."""
    widths = [(0, 0)] * mask.ndim
    widths[axis] = (margin + 1, margin)
    totals = np.cumsum(np.pad(mask, widths), axis=axis, dtype=np.int16)  # an axis has fewer voxels
    ends = np.arange(2 * margin + 1, totals.shape[axis])
    in_window = totals.take(ends, axis) - totals.take(ends - 2 * margin - 1, axis)
    eroded: Mask = in_window == 2 * margin + 1
    return eroded
