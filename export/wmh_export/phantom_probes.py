"""Probe slices of phantoms, on which exported graphs are compared with the trained network."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wmh_runtime.conformance.probe_slices import (
    ProbeSlices,
    concatenate_probe_slices,
    extract_probe_slices,
)
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom
from wmh_runtime.phantom.sites import SITES
from wmh_runtime.preprocessing.channels import Present, presence_weights
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

_LESION_LOAD_ML = 30.0


def phantom_probes(
    seed: int,
    preprocessing: Preprocessing,
    channels: Sequence[str],
    subsets: Sequence[Present],
    slices: int,
) -> ProbeSlices:
    """Make one phantom per site and take the slices with the largest lesion area.

    The slices of the sites alternate; within a site the slice with the largest area comes first.

    Args:
        seed: of the phantom cohort.
        preprocessing: of the bundle or the recipe.
        channels: names of the C channels; phantoms have a T1, and a FLAIR for all other names.
        subsets: which of the channels may be there; the slices take turns.
        slices: how many slices to return.
    """
    probes_by_site: list[ProbeSlices] = []
    with tempfile.TemporaryDirectory() as name:
        loads_ml, with_t1 = (_LESION_LOAD_ML, _LESION_LOAD_ML), "t1" in channels
        for plan in plan_cohort(len(SITES), seed, loads_ml, with_t1=with_t1):
            write_phantom(plan, Path(name))
            scan = read_scan(plan.scan_path(Path(name)))
            t1 = read_scan(plan.t1_path(Path(name))) if with_t1 else scan
            reference = read_scan(plan.reference_path(Path(name)), allow_constant=True)
            prepared = preprocess(
                [t1 if channel == "t1" else scan for channel in channels], preprocessing
            )
            area = prepared.geometry.to_network(reference.voxels).sum(axis=(1, 2))
            largest = np.argsort(-area, kind="stable")[: -(-slices // len(SITES))]
            probes_by_site.append(
                extract_probe_slices("phantoms", prepared, largest, preprocessing)
            )
    rank = np.tile(np.arange(len(probes_by_site[0])), len(probes_by_site))
    alternating = np.argsort(rank, kind="stable")[:slices]
    probes = concatenate_probe_slices(probes_by_site).select(alternating)
    planes = [presence_weights(subset, preprocessing.context_slices) for subset in subsets]
    weights = np.stack([planes[index % len(planes)] for index in range(len(probes))])
    return replace(probes, slices=probes.slices * weights[..., None, None])
