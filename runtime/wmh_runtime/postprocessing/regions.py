"""Regions of the brain: their names, and what is left of a network's masks after cleaning."""

from __future__ import annotations

from collections.abc import Mapping

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.postprocessing.lesions import box_around
from wmh_runtime.types import Mask

BRAIN, VENTRICLES, WHITE, CORTEX = "brain", "ventricles", "white", "cortex"
POSTERIOR = "posterior"

REGION_THRESHOLD = 0.5  # of all regions
# Of the largest piece. Smaller pieces of brain are in neck, scalp or orbits. On nine scans with
# masks, smaller pieces of ventricles were in basal ganglia and sulci.
_LEAST_PIECE = 0.1


def clean_regions(masks: Mapping[str, Mask]) -> dict[str, Mask]:
    """Return the regions within the brain, and without small pieces of brain and ventricles.

    A damaged slice cuts the brain in two large pieces: both are kept.

    Args:
        masks: of each region, (x, y, z).
    """
    cleaned = dict(masks)
    if BRAIN in masks:
        brain = _large_pieces(masks[BRAIN])
        cleaned = {name: mask & brain for name, mask in masks.items()} | {BRAIN: brain}
    if VENTRICLES in masks:
        cleaned[VENTRICLES] = _large_pieces(cleaned[VENTRICLES])
    return cleaned


def _large_pieces(mask: Mask) -> Mask:
    """Return the pieces whose size is above a share of that of the largest one."""
    large, box = np.zeros_like(mask), box_around(mask)
    pieces = cc3d.connected_components(mask[box], connectivity=6)
    voxels = cc3d.statistics(pieces)["voxel_counts"].astype(np.int64)
    voxels[0] = 0  # the background
    large[box] = (voxels > _LEAST_PIECE * voxels.max())[pieces]
    return large


def brain_of(regions: Mapping[str, Mask]) -> Mask | None:
    """Return the brain, (x, y, z); None if it is not known or nothing of it was found."""
    brain = regions.get(BRAIN)
    return brain if brain is not None and brain.any() else None


def number_regions(regions: Mapping[str, Mask]) -> NDArray[np.uint8]:
    """Return one volume with the number of the region of each voxel, from 1 in their order.

    `brain` is what no other region covers.

    Args:
        regions: (x, y, z), by name, without overlaps but for the brain; at least one.
    """
    numbers = np.zeros(next(iter(regions.values())).shape, np.uint8)
    numbered = {name: number for number, name in enumerate(regions, start=1)}
    for name in sorted(regions, key=lambda name: name != BRAIN):  # the brain first, then in order
        numbers[regions[name]] = numbered[name]
    return numbers
