"""Probe slices: preprocessed slices of phantoms or scans, to compare backends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.dataset.discovery import find_cases
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.preprocessing.preprocess import PreprocessedScan, Preprocessing, preprocess
from wmh_runtime.types import Floats, ProbeSource

_MAX_SCANS = 4
_MAX_SLICES = 16  # of all scans together; each slice is executed in one view or in eight
_MIDDLE = 0.5  # fraction of a scan's slices to choose from, around the middle


@dataclass(frozen=True)
class ProbeSlices:
    """Slices with the volume of their pixels."""

    data: ProbeSource
    slices: Floats  # [N, C, S, S], rounded to float16, which is how they are stored
    pixel_ml: Floats  # [N], pixel area times slice thickness, in mL

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.slices)

    def select(self, indices: NDArray[np.intp]) -> ProbeSlices:
        """Return the slices at these indices, in this order."""
        return ProbeSlices(self.data, self.slices[indices], self.pixel_ml[indices])

    def split_alternately(self) -> tuple[ProbeSlices, ProbeSlices]:
        """Split into the slices with even index and those with odd index."""
        indices = np.arange(len(self))
        return self.select(indices[::2]), self.select(indices[1::2])


def select_probe_scans(folder: Path, rules: ChannelRules) -> list[Case]:
    """Select up to four scans, evenly spaced in the sorted list of a folder's scans.

    Args:
        folder: of scans, or one scan.
        rules: channels of the network.

    Raises:
        InputError: the folder has no scans, or a scan lacks a channel.
    """
    cases = find_cases(folder, None, rules).scans
    indices = np.linspace(0, len(cases) - 1, min(_MAX_SCANS, len(cases))).round().astype(int)
    return [cases[index] for index in indices]


def scan_probes(
    scans: Sequence[Case], preprocessing: Preprocessing, channels: Sequence[str]
) -> tuple[ProbeSlices, ProbeSlices]:
    """Extract slices from the middle of scans, where most lesions are.

    Args:
        scans: at least one.
        preprocessing: the preprocessing of the bundle or the recipe.
        channels: of the network.

    Returns:
        Slices to compare on, always the same for the same scans; and the slices between them, to
        calibrate INT8 on.

    Raises:
        InputError: a scan cannot be read.
    """
    slices_per_scan = -(-_MAX_SLICES // len(scans))
    parts: list[ProbeSlices] = []
    for case in scans:
        paths = map(case.image_of, channels)
        images = [None if path is None else read_scan(path) for path in paths]
        preprocessed = preprocess(images, preprocessing)
        indices = _in_the_middle(preprocessed.slices_by_plane, slices_per_scan)
        parts.append(extract_probe_slices("scans", preprocessed, indices, preprocessing))
    return concatenate_probe_slices(parts).split_alternately()


def _in_the_middle(counts: Sequence[int], slices: int) -> NDArray[np.intp]:
    """Return indices of slices from the middle of each plane.

    Args:
        counts: slices by plane; those of the first plane come first.
        slices: how many to take in all, at most.
    """
    indices: list[NDArray[np.float64]] = []
    for first, count in zip(np.cumsum([0, *counts]), counts, strict=False):
        margin = (1 - _MIDDLE) / 2 * count
        taken = max(1, slices // len(counts))
        indices.append(first + np.linspace(margin, count - 1 - margin, taken))
    return np.unique(np.concatenate(indices).astype(np.intp))


def extract_probe_slices(
    data: ProbeSource,
    preprocessed: PreprocessedScan,
    indices: NDArray[np.intp],
    preprocessing: Preprocessing,
) -> ProbeSlices:
    """Return some slices of a preprocessed scan, rounded to float16."""
    by_plane = [plane.distance_mm for plane in preprocessed.geometry.planes]
    distances_mm = np.repeat(by_plane, preprocessed.slices_by_plane)[indices]
    pixel_ml = preprocessing.pixel_size_mm**2 * distances_mm / 1000
    slices = preprocessed.slices[indices].astype(np.float16).astype(np.float32)
    return ProbeSlices(data, slices, pixel_ml.astype(np.float32))


def concatenate_probe_slices(parts: list[ProbeSlices]) -> ProbeSlices:
    """Concatenate the slices of several scans."""
    return ProbeSlices(
        parts[0].data,
        np.concatenate([part.slices for part in parts]),
        np.concatenate([part.pixel_ml for part in parts]),
    )
