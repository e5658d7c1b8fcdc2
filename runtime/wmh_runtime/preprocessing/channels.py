"""The channels of a case, such as FLAIR and T1: which are there, and one grid for all of them.

A channel that is missing is 0 everywhere in the network input. An image never is: white matter has
the intensity 1, or a z-score.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.regrid import GridMatch, bring_to_grid
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.types import Floats, Mask

Present = tuple[bool, ...]  # for each channel, whether it is there

_MAX_CENTER_DISTANCE_MM = 20.0
_MIN_COVERED_SHARE = 0.9  # of the head
# Of the similarity of two images of one head, see docs/scans.md.
_MIN_SIMILARITY, _MAX_SIMILARITY = 0.1, 0.8


def channel_subsets(channels: int, *, interchangeable: bool) -> list[Present]:
    """Return which channels may be there: all of them, and with less if they are interchangeable.

    Args:
        channels: C.
        interchangeable: any channel may be missing, but not all.

    Returns:
        The largest subset first.
    """
    sizes = range(channels, 0, -1) if interchangeable else (channels,)
    return [
        tuple(index in subset for index in range(channels))
        for size in sizes
        for subset in combinations(range(channels), size)
    ]


def presence_weights(present: Present, context_slices: int) -> Floats:
    """Return 1 for the planes of channels that are there, 0 for the others.

    Args:
        present: for each of C channels.
        context_slices: neighbors on each side of a slice, which are planes of a channel too.

    Returns:
        float32 (C · (1 + 2 · context_slices),).
    """
    return np.repeat(np.array(present, np.float32), 1 + 2 * context_slices)


def present_images(names: Sequence[str], scans: Sequence[Scan | None]) -> dict[str, Scan]:
    """Return the images that are there by the name of their channel, in the order of the channels.

    Args:
        names: C.
        scans: C; None for one that is missing.
    """
    pairs = zip(names, scans, strict=True)
    return {name: scan for name, scan in pairs if scan is not None}


def first_present(channels: Sequence[Scan | None]) -> Scan:
    """Return the first channel that is there. Its grid is that of the result.

    Raises:
        InputError: none is.
    """
    for scan in channels:
        if scan is not None:
            return scan
    raise InputError("no image is given", "Give an image of one channel at least.")


def align_channels(channels: Sequence[Scan | None]) -> list[GridMatch | None]:
    """Bring all channels to the grid of the first one that is there; None if one is missing.

    Raises:
        InputError: none is there.
    """
    grid = first_present(channels)
    return [None if scan is None else bring_to_grid(scan, grid) for scan in channels]


def similarity_warnings(similarity: float, image: Scan, first: Scan) -> list[str]:
    """Warn if an image may be of another head than the first channel, or is the same image.

    Args:
        similarity: 0 to 1, see `shared_information`.
        image: on the grid of the first channel.
        first: the first channel.
    """
    if similarity > _MAX_SIMILARITY:
        return [
            f"the similarity of {image.path.name} and {first.path.name} is {similarity:.2f},"
            f" expected {_MAX_SIMILARITY:g} or less: check that they are two contrasts"
        ]
    if similarity >= _MIN_SIMILARITY:
        return []
    return [
        f"the similarity of {image.path.name} and {first.path.name} is {similarity:.2f}, expected"
        f" {_MIN_SIMILARITY:g} or more: check that they are of one person, and register them if the"
        " patient moved"
    ]


def overlap_warnings(match: GridMatch, grid: Scan, head: Mask) -> list[str]:
    """Warn if an image may be of another head than the first channel, or shows little of it.

    Args:
        match: the image on the grid of the first channel.
        grid: the first channel.
        head: (x, y, z), found in the first channel.
    """
    if match.covered is None:
        return []
    name, warnings = match.scan.path.name, []
    if match.center_distance_mm > _MAX_CENTER_DISTANCE_MM:
        warnings.append(
            f"the centers of {name} and {grid.path.name} are {match.center_distance_mm:.0f} mm"
            f" apart, expected {_MAX_CENTER_DISTANCE_MM:.0f} or less: check that they are of the"
            " same visit"
        )
    share = np.count_nonzero(head & match.covered) / np.count_nonzero(head)
    if share < _MIN_COVERED_SHARE:
        warnings.append(
            f"{name} covers {share:.1%} of the head in {grid.path.name}, expected"
            f" {_MIN_COVERED_SHARE:.0%} or more: what it would show elsewhere is missing"
        )
    return warnings
