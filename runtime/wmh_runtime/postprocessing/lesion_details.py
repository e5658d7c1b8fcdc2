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
    voxels, sums = _voxels_and_sums(inside, to_axial.apply(probability)[box], lesions.count)
    sizes_mm = to_axial.order(spacing_mm_from_affine(affine))
    boxes = cc3d.statistics(inside)["bounding_boxes"][1:]
    first_slice = box[0].start
    return [
        LesionDetail(
            extent_mm=_extent_mm(one, sizes_mm),
            mean_probability=float(total / by_slice.sum()),
            largest_slice=int(first_slice + by_slice.argmax() + 1),
        )
        for one, by_slice, total in zip(boxes, voxels.T, sums, strict=True)
    ]


def _voxels_and_sums(
    labels: NDArray[np.unsignedinteger], probability: Floats, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the voxels of each lesion in each slice, (slices, count), and its sum, (count,).

    One slice at a time: numpy counts with 8 bytes for each voxel.
    """
    voxels, sums = np.zeros((len(labels), count), np.int64), np.zeros(count)
    for index, (numbers, values) in enumerate(zip(labels, probability, strict=True)):
        flat = numbers.ravel()
        voxels[index] = np.bincount(flat, minlength=count + 1)[1:]
        sums += np.bincount(flat, values.ravel(), minlength=count + 1)[1:]
    return voxels, sums


def _extent_mm(
    box: Sequence[slice], sizes_mm: tuple[float, float, float]
) -> tuple[float, float, float]:
    slices, rows, columns = (
        (one.stop - one.start) * size for one, size in zip(box, sizes_mm, strict=True)
    )
    return columns, rows, slices
