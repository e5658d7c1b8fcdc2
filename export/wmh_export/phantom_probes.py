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
    seed: int, preprocessing: Preprocessing, subsets: Sequence[Present], slices: int
) -> ProbeSlices:
    """Make one phantom per site and take the slices with the largest lesion area.

    The slices of the sites alternate; within a site the slice with the largest area comes first.

    Args:
        seed: of the phantom cohort.
        preprocessing: of the bundle or the recipe.
        subsets: which of C channels may be there; the slices take turns. All that are there hold
            the same image.
        slices: how many slices to return.
    """
    probes_by_site: list[ProbeSlices] = []
    with tempfile.TemporaryDirectory() as name:
        for plan in plan_cohort(len(SITES), seed, (_LESION_LOAD_ML, _LESION_LOAD_ML)):
            write_phantom(plan, Path(name))
            scan = read_scan(plan.scan_path(Path(name)))
            reference = read_scan(plan.reference_path(Path(name)), allow_constant=True)
            prepared = preprocess([scan] * len(subsets[0]), preprocessing)
            area = prepared.geometry.to_network(reference.voxels).sum(axis=(1, 2))
            largest = np.argsort(-area, kind="stable")[: -(-slices // len(SITES))]
            probes_by_site.append(
                extract_probe_slices("phantoms", scan, prepared, largest, preprocessing)
            )
    rank = np.tile(np.arange(len(probes_by_site[0])), len(probes_by_site))
    alternating = np.argsort(rank, kind="stable")[:slices]
    probes = concatenate_probe_slices(probes_by_site).select(alternating)
    planes = [presence_weights(subset, preprocessing.context_slices) for subset in subsets]
    weights = np.stack([planes[index % len(planes)] for index in range(len(probes))])
    return replace(probes, slices=probes.slices * weights[..., None, None])
