"""From a probability map to lesions: threshold, components, minimum size, volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, Mask

_MARGIN_VOXELS = 4
_ROUNDING = 1e-6  # NIfTI stores affines in float32, so "exactly 3 mm³" may read 2.9999998


@dataclass(frozen=True)
class Lesions:
    """The lesions of one scan, largest first."""

    labels: NDArray[np.unsignedinteger]  #: (x, y, z), the number of the lesion from 1, 0 outside
    volumes_mm3: NDArray[np.float64]  #: (n,), of each lesion
    centers_vox: NDArray[np.float64]  #: (n, 3), voxel indices of the centers of mass
    outside_ml: float = 0.0  #: volume of those dropped because they lie outside the brain

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The lesions together, (x, y, z), 1 in lesions; a new array at each access."""
        return (self.labels > 0).view(np.uint8)

    @property
    def count(self) -> int:
        """How many lesions there are."""
        return len(self.volumes_mm3)

    @property
    def volume_ml(self) -> float:
        """The volume of all lesions together; 0.0 without any."""
        return float(self.volumes_mm3.sum()) / 1000


def find_lesions(
    probability: Floats | Mask,
    *,
    threshold: float,
    min_lesion_mm3: float,
    voxel_volume_mm3: float,
    brain: Mask | None = None,
) -> Lesions:
    """Apply a threshold, and keep the 26-connected components that are large enough.

    Args:
        probability: (x, y, z), in [0, 1], or True in lesions.
        threshold: in (0, 1]; a voxel at the threshold is lesion.
        min_lesion_mm3: a component of exactly this volume is kept.
        voxel_volume_mm3: of one voxel.
        brain: (x, y, z); a component of which less than half lies in it is dropped. None: all of
            the image.
    """
    above = probability >= threshold
    box, components = find_components(above, connectivity=26)
    statistics = cc3d.statistics(components)
    voxels = statistics["voxel_counts"][1:]  # label 0 is the background
    kept = is_large_enough(voxels * voxel_volume_mm3, min_lesion_mm3)
    outside_voxels = 0
    if brain is not None:
        in_brain = is_mostly_in(brain[box], components, statistics["voxel_counts"])[1:]
        outside_voxels = int(voxels[kept & ~in_brain].sum())
        kept &= in_brain
    kept_labels = np.flatnonzero(kept)
    order = kept_labels[np.argsort(-voxels[kept_labels].astype(np.int64), kind="stable")]
    dtype = np.min_scalar_type(len(order))
    new_labels = np.zeros(len(voxels) + 1, dtype)
    new_labels[order + 1] = np.arange(1, len(order) + 1)
    labels = np.zeros(above.shape, dtype)
    labels[box] = new_labels[components]
    return Lesions(
        labels=labels,
        volumes_mm3=voxels[order] * voxel_volume_mm3,
        centers_vox=statistics["centroids"][1:][order] + [one.start for one in box],
        outside_ml=outside_voxels * voxel_volume_mm3 / 1000,
    )


def lesions_of_mask(mask: Mask, voxel_volume_mm3: float) -> Lesions:
    """Return the lesions of a mask that was drawn, (x, y, z): all components, however small."""
    return find_lesions(
        mask,
        threshold=1,
        min_lesion_mm3=0,
        voxel_volume_mm3=voxel_volume_mm3,
    )


def count_pairs(
    labels: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Count how many voxels have each label and each value.

    Args:
        labels: of voxels, from 0, below the first number of the shape.
        values: of the same voxels, from 0, below the second one.
        shape: of the result.

    Returns:
        (labels, values).
    """
    pairs = labels.ravel().astype(np.int64) * shape[1] + values.ravel()
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def label_components(mask: Mask) -> NDArray[Any]:
    """Number the lesions of a mask from 1; 0 is background.

    Voxels that share a face, an edge or a corner belong together (26-connectivity).
    """
    box, components = find_components(mask, connectivity=26)
    labels = np.zeros(mask.shape, np.min_scalar_type(int(components.max())))
    labels[box] = components
    return labels


def is_mostly_in(brain: Mask, labels: NDArray[Any], voxels: NDArray[Any]) -> Mask:
    """Say of which components at least half lies in the brain.

    Args:
        brain: (x, y, z).
        labels: (x, y, z), from 0 to n − 1.
        voxels: (n,), number of voxels of each label.

    Returns:
        (n,).
    """
    return 2 * np.bincount(labels[brain], minlength=len(voxels)) >= voxels


def is_large_enough(volumes_mm3: NDArray[Any], min_lesion_mm3: float) -> Mask:
    """Say which lesions are kept; one of exactly the minimum is."""
    return volumes_mm3 >= min_lesion_mm3 * (1 - _ROUNDING)


def box_around(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box that contains a mask; one voxel if the mask is empty."""
    extents = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(x.min(), x.max() + 1) if x.size else slice(0, 1) for x in extents)


def find_components(mask: Mask, connectivity: int) -> tuple[tuple[slice, ...], NDArray[Any]]:
    """Find the components of a mask in a box around it.

    The box is larger than the mask, as far as the image goes: cc3d 4.1 refuses two voxels with one
    between them in an image of these three voxels.

    Args:
        mask: (x, y, z).
        connectivity: 6 or 26 neighbors of a voxel.

    Returns:
        The box, and in it the number of the component of each voxel from 1; 0 is background.
    """
    box = grown_box(box_around(mask), (_MARGIN_VOXELS,) * 3, mask.shape)
    # In one order of voxels, whatever the array's: it decides the numbers.
    inside = np.ascontiguousarray(mask[box])
    return box, cc3d.connected_components(inside, connectivity=connectivity)


def grown_box(
    box: Sequence[slice], margins: Sequence[int], shape: Sequence[int]
) -> tuple[slice, ...]:
    """Return a box that is larger by a number of voxels on both sides of each axis.

    Args:
        box: with the first voxel of each axis, and the one after the last.
        margins: voxels, for each axis.
        shape: of the image, in which the result lies.
    """
    return tuple(
        slice(max(0, one.start - margin), min(count, one.stop + margin))
        for one, margin, count in zip(box, margins, shape, strict=True)
    )


OutputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", description="part of file names")]


class Output(StrictModel):
    """One class the network segments, with the calibration of its mask."""

    name: OutputName  #: such as wmh
    threshold: float = Field(gt=0, le=1)  #: probability from which a voxel is lesion
    min_lesion_mm3: float = Field(ge=0)  #: volume of the smallest lesion that is kept
