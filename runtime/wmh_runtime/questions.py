"""Questions: prepared slices to ask networks about, of phantoms and of a user's own scans."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_runtime.discovery import discover
from wmh_runtime.errors import InputError
from wmh_runtime.phantom.cohort import Plan, write_phantom
from wmh_runtime.phantom.sites import SITES
from wmh_runtime.prepare import Preparation, PreparedScan, prepare
from wmh_runtime.scan import Scan, read_scan
from wmh_runtime.types import Floats

# Seeds of phantoms that no training sees, and neither set sees the other's.
PARITY_SEED, CALIBRATION_SEED = 999_000, 998_000
_LOAD_ML = 30.0
_MOST_SCANS = 4
_MIDDLE = 0.5  # share of a scan's slices where lesions are looked for


@dataclass(frozen=True)
class Questions:
    """Slices to ask about."""

    slices: Floats  # [N, C, S, S], of values that float16 holds: so they are stored
    pixel_ml: Floats  # [N], volume of a pixel of each, as thick as its scan's slices

    def __len__(self) -> int:
        """How many slices."""
        return len(self.slices)

    def alternately(self) -> tuple[Questions, Questions]:
        """Deal them out to two."""
        first, second = (Questions(self.slices[i::2], self.pixel_ml[i::2]) for i in (0, 1))
        return first, second

    @classmethod
    def joined(cls, *parts: Questions) -> Questions:
        """Put several in a row."""
        return cls(
            np.concatenate([part.slices for part in parts]),
            np.concatenate([part.pixel_ml for part in parts]),
        )


def phantom_questions(seed: int, preparation: Preparation, channels: int, slices: int) -> Questions:
    """Make a phantom of each site and take the slices with most lesion of each, in turn.

    Args:
        seed: of the first phantom.
        preparation: of the bundle or the recipe.
        channels: C; all show the same.
        slices: how many to take in all.
    """
    parts = []
    with tempfile.TemporaryDirectory() as name:
        for i, site in enumerate(SITES):
            plan = Plan(f"site-{i}", seed=seed + i, site=site, load_ml=_LOAD_ML)
            write_phantom(plan, Path(name))
            scan = read_scan(plan.scan_path(Path(name)))
            reference = read_scan(plan.reference_path(Path(name)))
            prepared = prepare([scan] * channels, preparation)
            area = prepared.restoration.squares(reference.voxels).sum(axis=(1, 2))
            most = np.argsort(-area, kind="stable")[: -(-slices // len(SITES))]
            parts.append(_questions(scan, prepared, most, preparation))
    joined = Questions.joined(*parts)
    in_turn = np.argsort(np.tile(np.arange(len(parts[0])), len(parts)), kind="stable")[:slices]
    return Questions(joined.slices[in_turn], joined.pixel_ml[in_turn])


def scan_questions(folder: Path, preparation: Preparation, channels: int, slices: int) -> Questions:
    """Take slices of the middle of a user's scans, where most lesions are.

    Args:
        folder: of FLAIR scans, or one; the first four are read.
        preparation: of the bundle or the recipe.
        channels: C; only networks of one channel can be asked so.
        slices: how many to take in all.

    Raises:
        InputError: there is no scan, one cannot be read, or the network takes several channels.
    """
    if channels != 1:
        raise InputError(
            f"shows one channel, this network takes {channels}", "Leave --scans out.", about=folder
        )
    found = discover(folder, folder / "none").scans[:_MOST_SCANS]
    each = -(-slices // len(found))
    parts = []
    for one in found:
        scan = read_scan(one.path)
        prepared = prepare([scan], preparation)
        count = len(prepared.slices)
        margin = (1 - _MIDDLE) / 2 * count
        places = np.unique(np.linspace(margin, count - 1 - margin, each).astype(int))
        parts.append(_questions(scan, prepared, places, preparation))
    joined = Questions.joined(*parts)
    return Questions(joined.slices[:slices], joined.pixel_ml[:slices])


def _questions(
    scan: Scan, prepared: PreparedScan, places: np.ndarray, preparation: Preparation
) -> Questions:
    axis = prepared.restoration.reorientation.axes[0]
    pixel_ml = preparation.pixel_size_mm**2 * scan.spacing_mm[axis] / 1000
    slices = prepared.slices[places].astype(np.float16).astype(np.float32)
    return Questions(slices, np.full(len(places), pixel_ml, np.float32))
