"""What a training learns to predict in the slices of a scan, and how it is stored.

Of reference masks: the labels of all masks of a slice in one array, two bits for each mask. Of a
teacher, another network: its probabilities, float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.reference_masks import (
    LESION,
    OTHER_PATHOLOGY,
    Reference,
    read_probability,
)
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.preprocessing.slices.geometry import SliceGeometry
from wmh_train.data.annotated import AnnotatedScan

_MIN_SHARE = 0.5  # a pixel is lesion if at least this share of it is
_SHOWN_FROM = 0.5  # a slice counts as one with a lesion from this probability of a teacher on
_PROBABILITY = np.dtype(np.float16)


def stored_dtype(scan: AnnotatedScan) -> np.dtype[Any]:
    """Return the type of the stored targets of a scan.

    Of masks, the smallest type with two bits for each of them.
    """
    if scan.is_taught:
        return _PROBABILITY
    return np.min_scalar_type(4 ** (len(scan.references) + len(scan.regions)) - 1)


def stored_shape(scan: AnnotatedScan, slices: int, size_px: int) -> tuple[int, ...]:
    """Return the shape of the stored targets: (n, S, S), or (n, K, S, S) of probabilities."""
    outputs = (len(scan.references),) if scan.is_taught else ()
    return (slices, *outputs, size_px, size_px)


def make_targets(
    scan: AnnotatedScan, grid: Scan, references: Sequence[Reference], geometry: SliceGeometry
) -> tuple[NDArray[Any], list[bool]]:
    """Make the targets of a scan as they are stored.

    Args:
        scan: says where the maps of a teacher are.
        grid: the first channel of the scan.
        references: its masks: of lesions, then of regions. Of a taught scan there are none.
        geometry: of the slices.

    Returns:
        The targets, and which of the n slices show a lesion, or a region if no lesions are trained.

    Raises:
        InputError: a map of the teacher cannot be used.
    """
    if scan.is_taught:
        maps = [geometry.to_network(read_probability(path, grid)) for path in scan.references]
        probability = np.clip(np.stack(maps, axis=1), 0, 1).astype(_PROBABILITY)
        return probability, _shows_lesion(probability >= _SHOWN_FROM)
    labels = _label_slices(references, geometry)
    return pack(labels), _shows_lesion(labels[:, : len(scan.targets)] == LESION)


def _shows_lesion(masks: NDArray[np.bool_]) -> list[bool]:
    return [bool(of_slice.any()) for of_slice in masks]


def _label_slices(references: Sequence[Reference], geometry: SliceGeometry) -> NDArray[np.uint8]:
    """Return the labels of K masks in the slices of a scan, (n, K, S, S)."""
    by_mask = []
    for reference in references:
        labels = geometry.to_network(reference.lesion | reference.ignored) >= _MIN_SHARE
        of_mask = np.where(labels, OTHER_PATHOLOGY, 0).astype(np.uint8)
        of_mask[geometry.to_network(reference.lesion) >= _MIN_SHARE] = LESION
        by_mask.append(of_mask)
    return np.stack(by_mask, axis=1)


def pack(targets: NDArray[np.uint8]) -> NDArray[Any]:
    """Pack (n, K, S, S) of 0, 1 and 2 to (n, S, S): less than a third for seven targets."""
    count = targets.shape[1]
    packed = np.zeros((len(targets), *targets.shape[2:]), np.min_scalar_type(4**count - 1))
    for k in range(count):
        packed |= targets[:, k].astype(packed.dtype) << np.array(2 * k, packed.dtype)
    return packed


def unpack(stored: NDArray[Any], count: int) -> NDArray[Any]:
    """Return stored targets as (n, K, S, S) for K = `count`: labels uint8, or probabilities."""
    if stored.dtype == _PROBABILITY:
        return stored
    shifts = np.arange(0, 2 * count, 2, dtype=stored.dtype)[:, None, None]
    return ((stored[:, None] >> shifts) & np.array(3, stored.dtype)).astype(np.uint8)
