"""What a table says of each lesion besides its volume and center."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.nifti_header import Affine, spacing_mm_from_affine
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.postprocessing.lesions import Lesions, box_around
from wmh_runtime.types import Floats


@dataclass(frozen=True)
class LesionDetail:
    """Size, certainty and place of one lesion."""

    extent_mm: tuple[float, float, float]  # of its box: left–right, front–back, bottom–top
    mean_probability: float  # of its voxels, in [0, 1]
    largest_slice: int  # with most of its voxels; axial, counted from 1 at the most inferior


def describe_lesions(
    lesions: Lesions, probability: Floats, affine: Affine
) -> Sequence[LesionDetail]:
    """Describe each lesion, the largest first.

    The box of a lesion follows the axes of the voxels. Each is named after the axis of the patient
    that it is closest to.

    Args:
        lesions: (x, y, z).
        probability: (x, y, z), in [0, 1].
        affine: (4, 4), voxel index to RAS+ mm.
    """
    if not lesions.count:
        return []
    to_axial = axial_reorientation(affine)
    labels = to_axial.apply(lesions.labels)  # (slices, rows, columns)
    box = box_around(labels > 0)
    inside = np.ascontiguousarray(labels[box])
    is_lesion = inside > 0
    numbers = inside[is_lesion]
    first_slice = box[0].start
    voxels = np.bincount(numbers, minlength=lesions.count + 1)[1:]
    sums = np.bincount(
        numbers, to_axial.apply(probability)[box][is_lesion], minlength=lesions.count + 1
    )[1:]
    sizes_mm = to_axial.order(spacing_mm_from_affine(affine))
    boxes = cc3d.statistics(inside)["bounding_boxes"][1:]
    return [
        LesionDetail(
            extent_mm=_extent_mm(one, sizes_mm),
            mean_probability=float(total / count),
            largest_slice=int(first_slice + where + 1),
        )
        for one, total, count, where in zip(
            boxes, sums, voxels, _largest_slices(inside, lesions.count), strict=True
        )
    ]


def _extent_mm(
    box: Sequence[slice], sizes_mm: tuple[float, float, float]
) -> tuple[float, float, float]:
    slices, rows, columns = (
        (one.stop - one.start) * size for one, size in zip(box, sizes_mm, strict=True)
    )
    return columns, rows, slices


def _largest_slices(labels: NDArray[np.unsignedinteger], count: int) -> NDArray[np.intp]:
    """Return, for each lesion, the index of the slice with most of its voxels, (count,)."""
    voxels = np.stack([np.bincount(one.ravel(), minlength=count + 1) for one in labels])
    return voxels[:, 1:].argmax(axis=0)
