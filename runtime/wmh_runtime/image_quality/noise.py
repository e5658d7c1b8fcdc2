"""Noise in white matter.

The second difference along rows of the second difference along columns is 0 for whatever changes
linearly along one of them. Noise of standard deviation σ gives it a standard deviation of 6 σ
(Immerkær 1996, doi 10.1006/cviu.1996.0060). The median absolute deviation ignores the few voxels at
edges.

Most scanners interpolate their images, often to twice the pixels. Then neighbors have almost the
same noise, and differences between them are small. So differences between every second pixel are
measured, too, and the larger result counts. In an image that was not interpolated, both agree.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.image_quality.slices import LEAST_VOXELS, Slices
from wmh_runtime.postprocessing.lesions import box_around
from wmh_runtime.types import Floats, Mask

_Value = TypeVar("_Value", bound=np.generic)

_STEPS = (1, 2)  # pixels
_GAIN = 6.0  # of the mask 1 −2 1; −2 4 −2; 1 −2 1: the root of the sum of its squares
_SIGMA_PER_MEDIAN = 1 / 0.6745  # of the absolute value, for a normal distribution


def noise_percent(slices: Slices) -> float | None:
    """Return the standard deviation of the noise in percent of white matter.

    None: white matter is not known.
    """
    if slices.white_level is None:
        return None
    box = box_around(slices.white)
    stack, white = slices.stack[box], slices.white[box]
    sigmas = [sigma for step in _STEPS if (sigma := _sigma(stack, white, step)) is not None]
    return 100 * max(sigmas) / slices.white_level if sigmas else None


def _sigma(stack: Floats, mask: Mask, step: int) -> float | None:
    """Return the noise of the pixels whose eight neighbors at a distance are in the mask, too."""
    if min(stack.shape[1:]) <= 2 * step:
        return None
    values = np.concatenate(
        [_differences(one, inside, step) for one, inside in zip(stack, mask, strict=True)]
    )
    if values.size < LEAST_VOXELS:
        return None
    return _SIGMA_PER_MEDIAN * float(np.median(abs(values))) / _GAIN


def _differences(image: Floats, mask: Mask, step: int) -> Floats:
    """Return the second difference along both axes of the pixels (n,) with neighbors in a mask."""
    for axis in (0, 1):
        low, middle, high = _neighbors(image, axis, step)
        image = low - 2 * middle + high
        low_in, middle_in, high_in = _neighbors(mask, axis, step)
        mask = low_in & middle_in & high_in
    return image[mask]


def _neighbors(
    image: NDArray[_Value], axis: int, step: int
) -> tuple[NDArray[_Value], NDArray[_Value], NDArray[_Value]]:
    """Return the pixels before, at and after each pixel that has both neighbors."""
    along = np.moveaxis(image, axis, 0)
    parts = (along[: -2 * step], along[step:-step], along[2 * step :])
    before, at, after = (np.moveaxis(part, 0, axis) for part in parts)
    return before, at, after
