"""The images of a case: read them, and register them to the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.preprocessing.registration import Registration, register

_FLAIR = "flair"


def read_images(case: Case, channels: Sequence[str]) -> dict[str, Scan]:
    """Read the images of a case that are there, by channel; the first one has its warnings.

    Raises:
        InputError: one cannot be read, or two have the same voxels.
    """
    paths = {channel: case.image_of(channel) for channel in channels}
    scans = {channel: read_scan(path) for channel, path in paths.items() if path is not None}
    for (channel, one), (other_channel, other) in combinations(scans.items(), 2):
        if np.array_equal(one.voxels, other.voxels):
            problem = f"has the same voxels as {one.path.name}"
            advice = f"Give one image of each contrast: {channel} and {other_channel}."
            raise InputError(problem, advice, about=other.path)
    warnings = case.warnings
    if _FLAIR in channels and _FLAIR not in scans:
        others = " and ".join(channel.upper() for channel in scans)
        warnings = (*warnings, f"there is no FLAIR: from {others} alone, lesions are hardly found")
    if warnings:
        scan = scans[case.channel]
        scans[case.channel] = replace(scan, warnings=(*warnings, *scan.warnings))
    return scans


def register_images(images: Mapping[str, Scan]) -> dict[str, Registration]:
    """Register all images to the first one; warn of one that moved far."""
    fixed, *others = images
    return {channel: _with_warning(register(images[channel], images[fixed])) for channel in others}


def _with_warning(registration: Registration) -> Registration:
    warning = registration.warning
    if not warning:
        return registration
    scan = registration.scan
    return replace(registration, scan=replace(scan, warnings=(warning, *scan.warnings)))
