"""Select the slices of a picture: they show the lesions, and are spread over the head.

Every lesion is best shown in the slice with its largest area. Slices are selected one after
another, always the one that improves most how well the lesions are shown. Then gaps are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

import numpy as np
from numpy.typing import NDArray

HEAD_SLICE_FRACTION = 0.2  # relative to the largest head area of all slices
DIFFERENT_FRACTION = 0.06  # of the stack: slices at this distance look different
LESION_FRACTION = 0.75  # of the slices, at most: chosen for lesions; the others fill gaps


def select_slices(head: NDArray[np.bool_], lesions: NDArray[np.integer], count: int) -> list[int]:
    """Select slices of the head, and slices with lesions outside the head.

    If there are not more than `count`, all are selected. Otherwise, no two selected slices are
    closer than half of the mean distance, so that none is nearly the same as its neighbor. The
    slice with the largest lesion area is always selected.

    Args:
        head: (n, rows, cols).
        lesions: (n, rows, cols), 0 or the number of a lesion from 1.
        count: maximum number of slices, at least 1.

    Returns:
        Slice indices in increasing order, at least one and at most `count`.
    """
    head_areas = np.count_nonzero(head, axis=(1, 2))
    lesion_areas = np.count_nonzero(lesions, axis=(1, 2))
    is_large = head_areas >= HEAD_SLICE_FRACTION * head_areas.max()
    candidates = np.flatnonzero(is_large | (lesion_areas > 0))
    if len(candidates) <= count:
        return candidates.tolist()
    distance = (len(candidates) // count + 1) // 2
    shown = _slices_for_lesions(lesions[candidates], distance, max(1, int(LESION_FRACTION * count)))
    return candidates[_fill_gaps(shown, len(candidates), distance, count)].tolist()


def slices_with_most_lesion(masks: NDArray[np.bool_], count: int) -> list[int]:
    """Return the slices with the largest lesion areas that are far enough apart to differ.

    Args:
        masks: (n, rows, cols), lesions.
        count: maximum number of slices.

    Returns:
        Slice indices in increasing order; empty without lesions.
    """
    areas = np.count_nonzero(masks, axis=(1, 2))
    distance = max(1, round(DIFFERENT_FRACTION * len(masks)))
    selected: list[int] = []
    while len(selected) < count and areas.any():
        best = int(areas.argmax())
        selected.append(best)
        areas[max(0, best - distance + 1) : best + distance] = 0
    return sorted(selected)


@dataclass(frozen=True)
class _Sections:
    """Each row is the section of a lesion in a slice."""

    lesion: NDArray[np.int_]
    index: NDArray[np.int_]  # of the slice
    area: NDArray[np.int_]  # in pixels
    share: NDArray[np.float64]  # area / largest area of this lesion


def _sections(lesions: NDArray[np.integer]) -> _Sections:
    # Slice by slice: the indices of all lesion voxels at once could take more than the scan.
    counts = [np.unique(one[one > 0], return_counts=True) for one in lesions]
    lesion = np.concatenate([numbers for numbers, _ in counts]).astype(np.int64)
    area = np.concatenate([pixels for _, pixels in counts])
    index = np.repeat(np.arange(len(lesions)), [len(numbers) for numbers, _ in counts])
    largest = np.zeros(int(lesion.max(initial=0)) + 1)
    np.maximum.at(largest, lesion, area)
    return _Sections(lesion, index, area, area / largest[lesion])


def _slices_for_lesions(lesions: NDArray[np.integer], distance: int, count: int) -> list[int]:
    """Return the slice with the most lesion, and those that show other lesions best."""
    sections = _sections(lesions)
    areas = np.bincount(sections.index, sections.area, minlength=len(lesions))
    gains = areas
    shown_share = np.zeros(int(sections.lesion.max(initial=0)) + 1)  # best so far, by lesion
    is_free = np.ones(len(lesions), bool)
    selected: list[int] = []
    while len(selected) < count and (gains * is_free).any():
        best = max(np.flatnonzero(is_free), key=lambda index: (gains[index], areas[index]))
        selected.append(int(best))
        is_free[max(0, best - distance + 1) : best + distance] = False
        here = sections.index == best
        lesions_here = sections.lesion[here]
        shown_share[lesions_here] = np.maximum(shown_share[lesions_here], sections.share[here])
        improvements = np.maximum(0, sections.share - shown_share[sections.lesion])
        gains = np.bincount(sections.index, improvements, minlength=len(lesions))
    return selected


def _fill_gaps(selected: Sequence[int], total: int, distance: int, count: int) -> list[int]:
    """Add slices evenly, always to the widest gap, until there are `count`.

    The first and the last slice are half a step from the ends.
    """
    half_step = min(total / count / 2, distance - 0.01)  # smaller: an added slice is never outside
    edges = [-0.5 - half_step, *sorted(selected), total - 0.5 + half_step]
    widths = np.diff(edges)
    added = np.zeros(len(widths), int)
    for _ in range(count - len(selected)):
        steps = widths / (added + 2)  # after one more
        if steps.max() < distance:
            break
        added[steps.argmax()] += 1
    evenly = [
        floor(index + 0.5)
        for (low, high), some in zip(pairwise(edges), added, strict=True)
        for index in np.linspace(low, high, some + 2)[1:-1]
    ]
    return sorted({*selected, *evenly})
