"""Volumes of the masks themselves, in all and for each matched lesion, at both visits.

In the halfway space, interpolation rounds off small lesions. What is reported as the volume of a
lesion counts the voxels of the mask instead. The volumes of all lesions then add up to that of the
mask where both scans show something, but for lesions that interpolation loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.change.pair.halfway import HalfwayTransforms
from wmh_runtime.change.pair.rigid import inverse_of
from wmh_runtime.change.visits import VisitImages
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.regrid import nearest_on_grid
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import count_pairs, label_components
from wmh_runtime.types import Mask


@dataclass(frozen=True, eq=False)
class MaskVolumes:
    """Volumes of one mask, where the other scan shows something, too."""

    total_ml: float
    labels: NDArray[np.int32]  # (x, y, z) on its grid: matched lesions, of either visit
    lesions_mm3: NDArray[np.float64]  # (n,), of the matched lesions


def measure_masks(
    visits: tuple[VisitImages, VisitImages],
    transforms: HalfwayTransforms,
    labels: NDArray[np.int32],
    affine: Affine,
    count: int,
) -> tuple[MaskVolumes, MaskVolumes]:
    """Measure the masks of two visits.

    Args:
        visits: the earlier and the later one.
        transforms: of both to the halfway space.
        labels: (x, y, z), numbers of the matched lesions in the halfway space.
        affine: (4, 4), voxel index to RAS+ mm of the halfway space.
        count: of the matched lesions.
    """
    before, after = visits
    to_after = inverse_of(transforms.after) @ transforms.before
    to_before = inverse_of(to_after)
    return (
        _measure(
            before,
            _shown_by(after.scan, to_before, before.scan),
            nearest_on_grid(labels, inverse_of(transforms.before) @ affine, before.scan),
            count,
        ),
        _measure(
            after,
            _shown_by(before.scan, to_after, after.scan),
            nearest_on_grid(labels, inverse_of(transforms.after) @ affine, after.scan),
            count,
        ),
    )


def _shown_by(other: Scan, to_scan: Affine, scan: Scan) -> Mask:
    """Return which voxels of a scan lie in another one, (x, y, z)."""
    everywhere = np.ones(other.shape, np.uint8)
    return nearest_on_grid(everywhere, to_scan @ other.affine, scan) > 0


def _measure(
    visit: VisitImages, shown: Mask, numbers: NDArray[np.int32], count: int
) -> MaskVolumes:
    lesions = visit.lesions & shown
    numbers = _with_whole_components(numbers, lesions, count)
    voxels = np.bincount(numbers[lesions], minlength=count + 1)[1:]
    voxel_mm3 = visit.scan.voxel_volume_mm3
    total_ml = int(np.count_nonzero(lesions)) * voxel_mm3 / 1000
    return MaskVolumes(total_ml, numbers, voxels.astype(np.float64) * voxel_mm3)


def _with_whole_components(
    numbers: NDArray[np.int32], lesions: Mask, count: int
) -> NDArray[np.int32]:
    """Give voxels of a mask without a number that of most of their component; 0: it has none."""
    components = label_components(lesions)
    shape = int(components.max()) + 1, count + 1
    tally = count_pairs(components[lesions], numbers[lesions], shape)
    tally[:, 0] = 0
    most = tally.argmax(axis=1).astype(np.int32)
    return np.where(lesions & (numbers == 0), most[components], numbers)
