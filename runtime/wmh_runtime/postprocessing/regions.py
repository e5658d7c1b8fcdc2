"""Regions of the brain: their names, their volume, and what is left of it after cleaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.postprocessing.lesions import find_components
from wmh_runtime.types import Mask

BRAIN, VENTRICLES, WHITE, CORTEX = "brain", "ventricles", "white", "cortex"
POSTERIOR = "posterior"

REGION_THRESHOLD = 0.5  # of all regions
# Of the largest piece. Smaller pieces of brain are in neck, scalp or orbits. On nine scans with
# masks, smaller pieces of ventricles were in basal ganglia and sulci.
_LEAST_PIECE = 0.1


@dataclass(frozen=True, eq=False)
class Regions(Mapping[str, Mask]):
    """The regions of a brain by name, all in one volume of numbers.

    The mask of a region is made when it is asked for: large scans would not fit into memory with a
    mask for each.
    """

    names: Sequence[str]
    numbers: NDArray[np.uint8]  # (x, y, z), position of the region in `names` from 1; 0: outside

    @classmethod
    def of(cls, masks: Mapping[str, Mask]) -> Regions:
        """Number the voxels of masks, (x, y, z), at least one.

        They do not overlap, but for the brain: its number is where no other region is.
        """
        if isinstance(masks, Regions):
            return masks
        numbers = np.zeros(next(iter(masks.values())).shape, np.uint8)
        numbered = {name: number for number, name in enumerate(masks, start=1)}
        for name in sorted(masks, key=lambda name: name != BRAIN):  # the brain first, then in order
            numbers[masks[name]] = numbered[name]
        return cls(tuple(masks), numbers)

    def __getitem__(self, name: str) -> Mask:
        """Return the mask of a region, (x, y, z)."""
        if name not in self.names:
            raise KeyError(name)
        return self.numbers > 0 if name == BRAIN else self.numbers == self.number_of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def number_of(self, name: str) -> int:
        """Return the number of the voxels of a region; 0 if there is no such region."""
        return self.names.index(name) + 1 if name in self.names else 0


def clean_regions(regions: Regions, brain: Mask | None) -> Regions:
    """Return the regions within the brain, and without small pieces of brain and ventricles.

    A damaged slice cuts the brain in two large pieces: both are kept.

    Args:
        regions: as the network found them, but for the brain.
        brain: (x, y, z), as the network found it; None: not among the regions.
    """
    numbers, outside = regions.numbers.copy(), regions.number_of(BRAIN)
    if brain is not None:
        brain = _large_pieces(brain)
        numbers[~brain] = 0
        numbers[brain & (numbers == 0)] = outside
    if VENTRICLES in regions:
        ventricles = numbers == regions.number_of(VENTRICLES)
        numbers[ventricles & ~_large_pieces(ventricles)] = outside
    return Regions(regions.names, numbers)


def _large_pieces(mask: Mask) -> Mask:
    """Return the pieces whose size is above a share of that of the largest one."""
    large = np.zeros_like(mask)
    box, pieces = find_components(mask, connectivity=6)
    voxels = cc3d.statistics(pieces)["voxel_counts"].astype(np.int64)
    voxels[0] = 0  # the background
    large[box] = (voxels > _LEAST_PIECE * voxels.max())[pieces]
    return large


def brain_of(regions: Mapping[str, Mask]) -> Mask | None:
    """Return the brain, (x, y, z); None if it is not known or nothing of it was found."""
    brain = regions.get(BRAIN)
    return brain if brain is not None and brain.any() else None
