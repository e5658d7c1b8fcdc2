"""An annotated scan: its files, whose it is, and where it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.evaluation.reference_masks import Reference, read_reference
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, require_same_grid


@dataclass(frozen=True)
class AnnotatedScan:
    """The files of one scan with its reference masks."""

    name: str  # unique in its data set: "sub-1", "sub-1_ses-2", "Amsterdam/GE3T/100"
    person: str  # all scans of a person stay on one side of every split
    site: str  # "" where unknown
    channels: tuple[Path, ...]
    references: tuple[Path, ...]  # one for each output

    def load(self) -> tuple[list[Scan], list[Reference]]:
        """Read the channels and the reference masks, all on the grid of the first channel.

        Raises:
            InputError: a file cannot be read, a mask holds a strange label, or grids differ.
        """
        scans = [read_scan(path) for path in self.channels]
        for other in scans[1:]:
            require_same_grid(other, scans[0])
        return scans, [read_reference(path, scans[0]) for path in self.references]


@dataclass(frozen=True)
class DataSet:
    """The annotated scans that were found in one place."""

    name: str  # what it calls itself, else its folder's or table's name
    scans: tuple[AnnotatedScan, ...]  # in the order of their names
    unannotated: tuple[str, ...]  # names of scans passed over because a mask is missing
    notes: tuple[str, ...] = ()  # what a user should know of how the scans were understood
