"""Match the lesions of two visits in their halfway space, and measure each.

A lesion is what is connected in either visit. Lesions of the two visits that miss each other by a
small gap are one: the boundary is not known better than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.change.rules import (
    CLASSES,
    LINK_GAP_MM,
    Boundary,
    ChangeClass,
    classify,
)
from wmh_runtime.postprocessing.lesions import box_around, label_components
from wmh_runtime.types import Floats, Mask

_ROUNDING = 1e-3  # of a distance in mm, which edt has as float32


@dataclass(frozen=True, eq=False)
class MatchedLesions:
    """The lesions of two visits, (n,) each, largest first (the larger volume of both visits)."""

    labels: NDArray[np.int32]  # (x, y, z), number of the lesion from 1, in either visit
    before_mm3: NDArray[np.float64]
    after_mm3: NDArray[np.float64]
    before_mm2: NDArray[np.float64]  # surface
    after_mm2: NDArray[np.float64]
    centers_vox: NDArray[np.float64]  # (n, 3), at the later visit if it is there, else before
    shared_level: NDArray[np.float64]  # 0 to 1: mean of the lower level of both visits
    boundary: Boundary  # what the uncertainty is computed from

    @property
    def uncertainty_mm3(self) -> NDArray[np.float64]:
        """Of the change of each lesion."""
        return self.boundary.lesion_mm3(1) * np.maximum(self.before_mm2, self.after_mm2)

    @property
    def classes(self) -> list[ChangeClass]:
        """The class of each lesion."""
        columns = (self.before_mm3, self.after_mm3, self.uncertainty_mm3, self.shared_level)
        return [classify(*map(float, row)) for row in zip(*columns, strict=True)]

    def class_map(self) -> NDArray[np.uint8]:
        """Return the number of the class of each voxel, (x, y, z); 0 outside of lesions."""
        return self.class_numbers[self.labels]

    @property
    def class_numbers(self) -> NDArray[np.uint8]:
        """The number of the class of each lesion, by its own number; 0 outside of lesions."""
        return np.array([0, *(1 + CLASSES.index(name) for name in self.classes)], np.uint8)


def match_lesions(
    before: Mask,
    after: Mask,
    spacing_mm: float,
    boundary: Boundary,
    levels: tuple[Floats, Floats] | None = None,
) -> MatchedLesions:
    """Find the lesions of two visits, and measure each at both.

    Args:
        before: (x, y, z), lesions of the earlier visit.
        after: of the later one, on the same grid.
        spacing_mm: of the voxels, which are cubes.
        boundary: how well the boundaries are known.
        levels: of both visits, (x, y, z), see `level_map`; None: the masks.
    """
    labels = np.zeros(before.shape, np.int32)
    either = before | after
    if not either.any():
        none = np.zeros(0)
        return MatchedLesions(labels, none, none, none, none, np.zeros((0, 3)), none, boundary)
    box = box_around(either)
    labels[box] = _by_size(_linked(either[box], spacing_mm), before[box], after[box])
    cropped = labels[box]
    count = int(cropped.max())
    parts = [np.where(mask[box], cropped, 0) for mask in (before, after)]
    voxels = np.array([_count(part, count) for part in parts])
    faces = np.array([_faces(part, count) for part in parts])
    is_gone = np.append(False, voxels[1] == 0)
    centered = np.where(is_gone[parts[0]], parts[0], parts[1])
    lower = np.minimum(*(one[box] for one in levels or (before, after))).astype(np.float64)
    total_level = np.bincount(cropped.ravel(), lower.ravel(), minlength=count + 1)[1:]
    before_mm3, after_mm3 = voxels * spacing_mm**3
    before_mm2, after_mm2 = faces * spacing_mm**2
    return MatchedLesions(
        labels,
        before_mm3,
        after_mm3,
        before_mm2,
        after_mm2,
        centers_vox=_centers(centered, count) + [one.start for one in box],
        shared_level=total_level / _count(cropped, count),
        boundary=boundary,
    )


def _by_size(labels: NDArray[np.int32], before: Mask, after: Mask) -> NDArray[np.int32]:
    """Number lesions anew, by the larger one of both volumes, the largest first."""
    count = int(labels.max())
    largest = np.maximum(_count(labels * before, count), _count(labels * after, count))
    order = np.argsort(-largest, kind="stable")
    numbers = np.zeros(count + 1, np.int32)
    numbers[order + 1] = np.arange(1, count + 1)
    return numbers[labels]


def _count(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Count the voxels of each lesion, (count,)."""
    return np.bincount(labels.ravel(), minlength=count + 1)[1:]


def _linked(either: Mask, spacing_mm: float) -> NDArray[np.int32]:
    """Number the lesions from 1; a gap up to `LINK_GAP_MM` is bridged."""
    reach_mm = LINK_GAP_MM / 2 + _ROUNDING  # to the middle of the gap
    padding = int(reach_mm // spacing_mm) + 1
    padded = np.pad(either, padding)
    near = edt.edt(~padded, anisotropy=(spacing_mm,) * 3) <= reach_mm
    inner = (slice(padding, -padding),) * 3
    linked = label_components(near)[inner] * either
    return linked.astype(np.int32)


def _faces(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Count the faces of voxels between each lesion and what is not lesion, (count,)."""
    padded = np.pad(labels, 1)
    faces = np.zeros(count + 1, np.int64)
    for axis in range(3):
        low, high = (
            np.take(padded, range(start, padded.shape[axis] - 1 + start), axis=axis)
            for start in (0, 1)
        )
        for inside, outside in ((low, high), (high, low)):
            faces += np.bincount(inside[(inside > 0) & (outside == 0)], minlength=count + 1)
    return faces[1:]


def _centers(labels: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Return the center of mass of each lesion, (count, 3), in voxel indices."""
    places = np.nonzero(labels)
    numbers = labels[places]
    totals = np.maximum(np.bincount(numbers, minlength=count + 1)[1:], 1)
    sums = [np.bincount(numbers, place, minlength=count + 1)[1:] for place in places]
    return np.stack(sums, axis=1) / totals[:, None]
