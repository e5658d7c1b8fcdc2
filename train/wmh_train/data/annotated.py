"""Annotated scans: image files with reference masks, subject and site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import Reference, read_reference
from wmh_runtime.imageio.volume import Scan

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class AnnotatedScan:
    """The image files of one case, one per channel, and its reference masks."""

    name: str  # unique in the data set: "sub-1", "sub-1_ses-2", "Amsterdam/GE3T/100"
    subject: str  # all scans of a subject stay on one side of every split
    site: str  # "" if unknown
    channels: tuple[Path, ...]
    references: tuple[Path, ...]  # one per output of the recipe for lesions
    regions: tuple[Path | None, ...] = ()  # masks of the recipe's regions; None: not annotated
    is_taught: bool = False  # the references are no masks, but probabilities of another network

    @property
    def targets(self) -> tuple[Path | None, ...]:
        """The masks that validation and sampling look at: of lesions, if any are trained."""
        return self.references or self.regions

    @property
    def is_annotated(self) -> bool:
        """Whether the scan has its masks: of all lesions, or of any region if there are none."""
        if self.references:
            return all(path.is_file() for path in self.references)
        return any(path is not None for path in self.regions)

    def load(self) -> tuple[list[Scan], list[Reference]]:
        """Read the channels, and the reference masks in the order of the first one's voxels.

        A taught scan has no masks.

        Raises:
            InputError: a file cannot be read, or a mask contains an unknown label or is not on the
                grid of the first channel.
        """
        scans = [read_scan(path) for path in self.channels]
        masks = () if self.is_taught else self.references
        return scans, [read_reference(path, scans[0]) for path in masks]

    def load_regions(self, grid: Scan) -> list[Reference]:
        """Read the masks of the regions. All voxels of a region without mask are ignored.

        Args:
            grid: the first channel.

        Raises:
            InputError: a file cannot be read, a mask contains an unknown label, or grids differ.
        """
        unknown = Reference(np.zeros(grid.shape, np.bool_), np.ones(grid.shape, np.bool_))
        return [read_reference(path, grid) if path else unknown for path in self.regions]


def group_by(names: Iterable[str], values: Iterable[_Value]) -> dict[str, list[_Value]]:
    """Group values by a name that each has, such as its site; sorted by name."""
    groups: dict[str, list[_Value]] = {}
    for name, value in zip(names, values, strict=True):
        groups.setdefault(name, []).append(value)
    return dict(sorted(groups.items()))


def count_sites(scans: Iterable[AnnotatedScan]) -> dict[str, int]:
    """Return the number of scans of each site, by name of the site; unknown sites are left out."""
    return dict(sorted(Counter(scan.site for scan in scans if scan.site).items()))


@dataclass(frozen=True)
class Dataset:
    """The annotated scans of one folder or table."""

    name: str  # BIDS name of the data set, otherwise name of its folder or table
    scans: tuple[AnnotatedScan, ...]  # sorted by name
    unannotated: tuple[str, ...]  # names of skipped scans, which lack a mask
    notes: tuple[str, ...] = ()  # warnings for the user about how files were interpreted
