"""Questions: prepared slices to ask networks about, of phantoms and of a user's own scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.preprocessing.preprocess import PreprocessedScan, Preprocessing, preprocess
from wmh_runtime.types import Data, Floats

_MOST_SCANS = 4
_OF_SCANS = 16  # slices; each of them costs a view, or eight
_MIDDLE = 0.5  # share of a scan's slices where lesions are looked for


@dataclass(frozen=True)
class ProbeSlices:
    """Slices to ask about."""

    data: Data
    slices: Floats  # [N, C, S, S], of values that float16 holds: so they are stored
    pixel_ml: Floats  # [N], volume of a pixel of each, as thick as its scan's slices

    def __len__(self) -> int:
        """How many slices."""
        return len(self.slices)

    def at(self, places: NDArray[np.intp]) -> ProbeSlices:
        """Take some of them, in the order given."""
        return ProbeSlices(self.data, self.slices[places], self.pixel_ml[places])

    def alternately(self) -> tuple[ProbeSlices, ProbeSlices]:
        """Deal them out to two."""
        places = np.arange(len(self))
        return self.at(places[::2]), self.at(places[1::2])


def choose_scans(folder: Path) -> list[Path]:
    """Choose up to four of a user's FLAIR scans, spread over the folder by name.

    Raises:
        InputError: there is none.
    """
    nowhere = folder / ".wmh-nowhere"  # no results lie among the scans
    found = [one.path for one in discover(folder, nowhere).scans]
    places = np.linspace(0, len(found) - 1, min(_MOST_SCANS, len(found))).round().astype(int)
    return [found[place] for place in places]


def scan_probes(
    scans: Sequence[Path], preprocessing: Preprocessing, channels: int
) -> tuple[ProbeSlices, ProbeSlices]:
    """Take slices of the middle of scans, where most lesions are.

    Args:
        scans: files, at least one.
        preprocessing: of the bundle or the recipe.
        channels: C; only networks of one channel can be asked so.

    Returns:
        Slices to compare on, always the same of a scan; and from between them, as many to learn
        from.

    Raises:
        InputError: a scan cannot be read, or the network takes several channels.
    """
    if channels != 1:
        problem = f"show one channel, this network takes {channels}"
        raise InputError(problem, "Leave --scans out.", about="--scans")
    each = -(-_OF_SCANS // len(scans))
    parts: list[ProbeSlices] = []
    for path in scans:
        scan = read_scan(path)
        prepared = preprocess([scan], preprocessing)
        count = len(prepared.slices)
        margin = (1 - _MIDDLE) / 2 * count
        places = np.unique(np.linspace(margin, count - 1 - margin, each).astype(int))
        parts.append(take_slices("scans", scan, prepared, places, preprocessing))
    return join_slices(parts).alternately()


def take_slices(
    data: Data,
    scan: Scan,
    prepared: PreprocessedScan,
    places: NDArray[np.intp],
    preprocessing: Preprocessing,
) -> ProbeSlices:
    """Take some of the slices of a prepared scan, rounded to values that float16 holds."""
    axis = prepared.restoration.reorientation.axes[0]
    pixel_ml = preprocessing.pixel_size_mm**2 * scan.spacing_mm[axis] / 1000
    slices = prepared.slices[places].astype(np.float16).astype(np.float32)
    return ProbeSlices(data, slices, np.full(len(places), pixel_ml, np.float32))


def join_slices(parts: list[ProbeSlices]) -> ProbeSlices:
    """Put the slices of several scans behind each other."""
    return ProbeSlices(
        parts[0].data,
        np.concatenate([part.slices for part in parts]),
        np.concatenate([part.pixel_ml for part in parts]),
    )
