"""The window is set by the brain: neither scalp nor lesions make it dark or white."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wmh_runtime.figures.window import WHITE_TO_BRAIN, Window, find_window


def made_up_head(scalp: float, lesion: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return 20 slices with a brain of 100, a scalp around it, a lesion, and CSF of 0."""
    slices = np.zeros((20, 40, 40), dtype=np.float32)
    head = np.zeros(slices.shape, dtype=bool)
    head[:, 4:36, 4:36] = True
    slices[:, 4:36, 4:36] = scalp
    slices[:, 8:32, 8:32] = 100
    slices[:, 18:22, 18:22] = 0
    slices[:, 24:28, 10:14] = lesion
    return slices, head


@pytest.mark.parametrize("scalp", [30, 100, 300, 900])
@pytest.mark.parametrize("lesion", [100, 150, 200])
def test_scalp_and_lesions_do_not_change_the_window(scalp: float, lesion: float) -> None:
    """Black is CSF, 0; the brain is 100 above it."""
    assert find_window(*made_up_head(scalp, lesion)) == Window(0, WHITE_TO_BRAIN * 100)


@pytest.mark.parametrize(("factor", "offset"), [(0.01, 0), (1, -500), (40, 1000)])
def test_the_window_follows_the_unit_of_the_intensities(factor: float, offset: float) -> None:
    slices, head = made_up_head(300, 150)
    window, changed = find_window(slices, head), find_window(factor * slices + offset, head)
    assert changed.low == pytest.approx(factor * window.low + offset, abs=1e-3)
    assert changed.high == pytest.approx(factor * window.high + offset, rel=1e-4)


def test_voxels_that_are_not_finite_do_not_count() -> None:
    slices, head = made_up_head(300, 150)
    slices[::2, ::3] = np.nan
    slices[5, 20, 20] = np.inf
    assert find_window(slices, head) == Window(0, WHITE_TO_BRAIN * 100)


def test_the_window_of_a_uniform_head_includes_the_air() -> None:
    slices = np.zeros((1, 10, 10), dtype=np.float32)
    slices[:, 2:8, 2:8] = 7
    assert find_window(slices, slices > 0) == Window(0, 7)


def test_a_window_has_a_width_even_without_head_or_contrast() -> None:
    slices = np.full((2, 3, 3), 7, dtype=np.float32)
    for head in (np.ones(slices.shape, dtype=bool), np.zeros(slices.shape, dtype=bool)):
        assert find_window(slices, head) == Window(7, 8)
