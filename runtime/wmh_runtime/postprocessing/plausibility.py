"""Check whether lesions look like white matter hyperintensities; if not, warn with the number.

The checks find scans of another contrast, or images that are no head. They cannot find a wrong
lesion: most scans of other contrasts give plausible lesions somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import edt
import numpy as np

from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import Lesions, box_around, grown_box
from wmh_runtime.postprocessing.regions import BRAIN, VENTRICLES
from wmh_runtime.postprocessing.symmetry import LEAST_AGREEMENT
from wmh_runtime.preprocessing.erosion import eroded
from wmh_runtime.types import Mask

_RIM_MM = 8.0  # skin, skull and cerebrospinal fluid are about as thick
_BRAIN_ML = (500.0, 2200.0)  # of adults, 800 to 1,800; a part of the brain is enough
# Lateral: 5.5 to 80 in 15 scans, 4.7 in one in which half was missed; more with hydrocephalus.
_VENTRICLES_ML = (5.0, 250.0)
_SURFACE_MM = (1.0, 4.0)  # below the surface of the brain: mostly cortex
_MIDDLE_MM = 12.0  # below it: mostly white matter
_DARK_PERCENTILE = 1.0
_MIN_SURFACE = 0.9  # times the middle; 0.95 to 1.19 in 14 FLAIR scans, 0.80 to 0.86 in twelve T1
_OUTSIDE_ML = 0.1  # 0.00 in 16 scans
_MAX_OUTSIDE_SHARE = 0.1  # of all possible lesions
_MAX_RIM_SHARE = 0.25  # of the volume; 0.00 to 0.21 on eleven FLAIR scans, up to 1.00 on T1


def plausibility_warnings(
    name: str, scan: Scan, head: Mask, lesions: Lesions, *, is_flair: bool = True
) -> list[str]:
    """Return a warning for each reason to doubt the lesions of one output.

    Args:
        name: of the output, such as `wmh`.
        scan: the first channel.
        head: (x, y, z).
        lesions: on the same grid.
        is_flair: lesions are brighter than most of the head only in FLAIR.
    """
    mask, warnings = lesions.labels > 0, []
    total_ml = lesions.outside_ml + lesions.volume_ml
    if lesions.outside_ml >= max(_OUTSIDE_ML, _MAX_OUTSIDE_SHARE * total_ml):
        warnings.append(
            f"{lesions.outside_ml:.1f} mL of possible {name} lesions lie outside the brain and were"
            " left out: check the picture"
        )
    if not mask.any():
        return warnings
    lesion_median, head_median = (
        float(np.median(scan.voxels[part], overwrite_input=True)) for part in (mask, head)
    )
    if is_flair and lesion_median < head_median:
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


def region_warnings(
    images: Mapping[str, Scan], head: Mask, regions: Mapping[str, Mask]
) -> list[str]:
    """Return a warning if the regions do not look like a brain, or an image like its channel.

    Args:
        images: by channel, those that are there, on one grid.
        head: (x, y, z).
        regions: by name, on the same grid; may be empty.
    """
    if BRAIN not in regions:
        return []
    warnings, scan = [], next(iter(images.values()))
    brain_ml = np.count_nonzero(regions[BRAIN]) * scan.voxel_volume_mm3 / 1000
    if not _BRAIN_ML[0] <= brain_ml <= _BRAIN_ML[1]:
        lowest, highest = _BRAIN_ML
        warnings.append(
            f"the brain measures {brain_ml:.0f} mL, expected {lowest:.0f} to {highest:.0f}: check"
            " that the scan shows a whole brain, in the contrast of the model"
        )
    ventricles_ml = np.count_nonzero(regions.get(VENTRICLES, 0)) * scan.voxel_volume_mm3 / 1000
    is_plausible = _VENTRICLES_ML[0] <= ventricles_ml <= _VENTRICLES_ML[1]
    if VENTRICLES in regions and not (is_plausible or warnings):  # a wrong brain explains them
        lowest, highest = _VENTRICLES_ML
        warnings.append(
            f"the lateral ventricles measure {ventricles_ml:.1f} mL, expected {lowest:.0f} to"
            f" {highest:.0f}: check their outline (the regions option) before you use volumes by"
            " location"
        )
    # A voxel more: without the background beside it, the brain would have no surface there.
    box = grown_box(box_around(regions[BRAIN]), (1, 1, 1), head.shape)
    brain = regions[BRAIN][box]
    tissue = brain & ~regions[VENTRICLES][box] if VENTRICLES in regions else brain
    surface, middle = _surface_and_middle(scan, brain, tissue)
    for channel, image in images.items():
        ratio = _brightness_ratio(image, head, box, surface, middle)
        if channel == "flair" and ratio < _MIN_SURFACE:
            warnings.append(
                f"the surface of the brain is darker than its middle ({ratio:.2f} of it), as in T1:"
                " check that the scan is a FLAIR"
            )
        elif channel == "t1" and ratio >= _MIN_SURFACE:
            warnings.append(
                f"the surface of the brain is as bright as its middle ({ratio:.2f} of it), as in"
                f" FLAIR: check that {image.path.name} is a T1"
            )
    return warnings


def symmetry_warnings(symmetry: float | None) -> list[str]:
    """Return a warning if left and right are not told apart.

    Args:
        symmetry: agreement of both halves of the brain; None: not known.
    """
    if symmetry is None or symmetry >= LEAST_AGREEMENT:
        return []
    return [
        f"left and right are not told apart: {symmetry:.0%} of the brain agrees with its mirror"
        f" image, expected {LEAST_AGREEMENT:.0%} or more"
    ]


def _surface_and_middle(scan: Scan, brain: Mask, tissue: Mask) -> tuple[Mask, Mask]:
    """Return the surface of the brain, mostly cortex, and its middle, mostly white matter.

    Args:
        scan: with voxels of the same size.
        brain: (x, y, z).
        tissue: (x, y, z), the brain without ventricles: they may fill most of its middle.
    """
    depth_mm = edt.edt(brain, anisotropy=scan.spacing_mm)
    first, last = _SURFACE_MM
    return (depth_mm > first) & (depth_mm < last), tissue & (depth_mm > _MIDDLE_MM)


def _brightness_ratio(
    scan: Scan, head: Mask, box: tuple[slice, ...], surface: Mask, middle: Mask
) -> float:
    """Return the brightness of the surface relative to the middle, above that of dark regions.

    Args:
        scan: (x, y, z).
        head: (x, y, z).
        box: in which surface and middle are.
        surface: of the brain, in the box.
        middle: of the brain, in the box.

    Returns:
        NaN if surface or middle is empty.
    """
    if not (surface.any() and middle.any()):
        return math.nan
    dark = float(np.percentile(scan.voxels[head], _DARK_PERCENTILE, overwrite_input=True))
    voxels = scan.voxels[box]
    outer, inner = (float(np.median(voxels[part])) - dark for part in (surface, middle))
    return outer / inner if inner > 0 else math.nan


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
        deep = eroded(deep, axis, round(_RIM_MM / spacing_mm))
    return 1 - np.count_nonzero(mask & deep) / np.count_nonzero(mask)
