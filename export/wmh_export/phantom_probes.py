"""Probe slices of phantoms, on which exported graphs are compared with the trained network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from wmh_runtime.conformance.probe_slices import ProbeSlices, join_slices, take_slices
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom
from wmh_runtime.phantom.sites import SITES
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

_LOAD_ML = 30.0


def phantom_probes(
    seed: int, preprocessing: Preprocessing, channels: int, slices: int
) -> ProbeSlices:
    """Make a phantom of each site and take the slices with most lesion of each, in turn.

    Args:
        seed: of the cohort.
        preprocessing: of the bundle or the recipe.
        channels: C; all show the same.
        slices: how many to take in all.
    """
    parts: list[ProbeSlices] = []
    with tempfile.TemporaryDirectory() as name:
        for plan in plan_cohort(len(SITES), seed, (_LOAD_ML, _LOAD_ML)):
            write_phantom(plan, Path(name))
            scan = read_scan(plan.scan_path(Path(name)))
            reference = read_scan(plan.reference_path(Path(name)))
            prepared = preprocess([scan] * channels, preprocessing)
            area = prepared.restoration.squares(reference.voxels).sum(axis=(1, 2))
            most = np.argsort(-area, kind="stable")[: -(-slices // len(SITES))]
            parts.append(take_slices("phantoms", scan, prepared, most, preprocessing))
    in_turn = np.argsort(np.tile(np.arange(len(parts[0])), len(parts)), kind="stable")[:slices]
    return join_slices(parts).at(in_turn)
