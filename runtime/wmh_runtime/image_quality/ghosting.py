"""Ghosts of a moving or pulsating head in the air beside it.

What moves between the lines of k-space appears again along the phase-encoding axis, over the whole
width of the image. The corners of a slice, beside the head along no axis, show the noise only. So
the mean square of the air beside the head along one axis, minus that of the corners, is the energy
of the ghosts. It is taken from the median, which skin and ears do not change if they fill less than
half of the air. The axis is not known: the larger result of both counts. The idea is that of the
ghost-to-signal ratio (Giannelli et al. 2010, doi 10.1120/jacmp.v11i4.3237), which MRIQC has, too.

Strong ghosts are as bright as scalp, so the head cannot be told from them by its intensity: the air
begins at a distance from the brain.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.types import Floats, Mask

_SCALP_MM = 20.0  # from the brain; skull and scalp are thinner in most places
_LEAST_AREA = 0.5  # of the largest section of the brain; slices above those with the nose
_LEAST_VOXELS = 2000  # of each part of the air
_HIGHEST_EQUAL_SHARE = 0.2  # of the corners; more have one value if the air was cleared


def ghosting_percent(slices: Slices) -> float | None:
    """Return the root mean square of the ghosts in percent of white matter.

    None: brain or white matter are not known, there is not enough air, or it was removed.
    """
    level = slices.white_level
    if level is None or not slices.brain.any():
        return None
    areas = np.count_nonzero(slices.brain, axis=(1, 2))
    large = areas >= _LEAST_AREA * areas.max()
    first, last = np.flatnonzero(large)[[0, -1]]
    part = slice(first, last + 1)
    stack, brain = slices.stack[part], slices.brain[part]
    measured = large[part, None, None] & ~slices.background[part]
    outside, within = _lines(brain, slices.spacing_mm)
    corners = stack[measured & outside[0] & outside[1]]
    if corners.size < _LEAST_VOXELS or _is_cleared(corners):
        return None
    besides = (stack[measured & outside[axis] & within[1 - axis]] for axis in (0, 1))
    energies = [_energy(one, level) for one in besides if one.size >= _LEAST_VOXELS]
    if not energies:
        return None
    return 100 * math.sqrt(max(0.0, max(energies) - _energy(corners, level)))


def _lines(
    brain: Mask, spacing_mm: tuple[float, float, float]
) -> tuple[tuple[Mask, Mask], tuple[Mask, Mask]]:
    """Return the rows and columns outside the head, and those that show brain.

    Args:
        brain: in each slice.
        spacing_mm: along slices, rows and columns.

    Returns:
        Of each pair, (slices, rows, 1) and (slices, 1, columns).
    """
    outside, within = [], []
    for axis in (1, 2):
        shows = np.asarray(brain.any(axis=3 - axis))  # (slices, rows or columns)
        indices = np.arange(shows.shape[1])
        first, last = _ends(shows)
        margin = _SCALP_MM / spacing_mm[axis]
        is_outside = (indices < first - margin) | (indices > last + margin)
        is_within = (indices >= first) & (indices <= last)
        outside.append(np.expand_dims(is_outside, 3 - axis))
        within.append(np.expand_dims(is_within, 3 - axis))
    return (outside[0], outside[1]), (within[0], within[1])


def _ends(shows: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and the last index that is True in each row, as columns."""
    first = shows.argmax(axis=1)
    last = shows.shape[1] - 1 - shows[:, ::-1].argmax(axis=1)
    return first[:, None], last[:, None]


def _energy(values: Floats, level: float) -> float:
    """Return the mean square of a Rayleigh distribution with this median, by white matter."""
    return float(np.median(abs(values)) / level) ** 2 / math.log(2)


def _is_cleared(values: Floats) -> bool:
    _, counts = np.unique(values, return_counts=True)
    return bool(counts.max() > _HIGHEST_EQUAL_SHARE * values.size)
