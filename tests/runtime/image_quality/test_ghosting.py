import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.ghosting import ghosting_percent

BRAIN = np.zeros((8, 120, 80), bool)  # rows of 1 mm, columns of 2 mm
BRAIN[1:7, 45:75, 30:50] = True
IN_ROWS, IN_COLUMNS = np.s_[:, 45:75, :], np.s_[:, :, 30:50]
AIR = np.ones(BRAIN.shape, bool)
AIR[:, 25:95, 20:60] = False  # 20 mm around the brain


def scan(corners=3.0, ghost_in=None, ghost=5.0):
    """Rayleigh noise in the air, stronger beside the head along one axis; white matter is 100."""
    spread = np.full(BRAIN.shape, corners)
    if ghost_in is not None:
        spread[ghost_in] = ghost
    real, imaginary = np.random.default_rng(1).normal(0, 1, (2, *BRAIN.shape))
    stack = np.where(AIR, np.hypot(real, imaginary) * spread, 80)  # skin around the brain
    return toy_slices(stack, spacing_mm=(5.0, 1.0, 2.0), brain=BRAIN)


@pytest.mark.parametrize("ghost_in", [IN_ROWS, IN_COLUMNS])
def test_ghosts_beside_the_head_are_compared_with_the_corners(ghost_in):
    # Each part of the noise has a mean square of 25 or 9: √(2 · 25 − 2 · 9) = 5.7, along any axis.
    assert ghosting_percent(scan(ghost_in=ghost_in)) == pytest.approx(5.7, abs=0.3)


def test_noise_alone_is_no_ghost():
    assert ghosting_percent(scan()) == pytest.approx(0, abs=0.8)


def test_an_ear_does_not_change_the_result():
    slices = scan()
    slices.stack[:, 50:60, 14:20] = 90  # 60 of 600 pixels beside the head along the columns
    assert ghosting_percent(slices) < 3


def test_slices_with_little_brain_are_left_out():
    slices = scan()
    slices.brain[0, 60:64, 40:44] = True  # a slice through the nose
    slices.stack[[0, 7]] = 90
    assert ghosting_percent(slices) == pytest.approx(0, abs=0.8)


def test_constant_background_is_no_air():
    padded = scan(ghost_in=IN_ROWS)
    padded.stack[:, :, :10] = 0
    padded.background[:, :, :10] = True
    assert ghosting_percent(padded) == pytest.approx(5.7, abs=0.3)


def test_cleared_or_little_air_is_not_measurable():
    cleared = scan(ghost_in=IN_ROWS)
    cleared.stack[:, ::2] = 0
    assert ghosting_percent(cleared) is None
    removed = scan()
    removed.background[:] = AIR
    assert ghosting_percent(removed) is None
    wide = scan()
    wide.brain[:, 20:100] = True  # the rows that are left are less than 20 mm away
    assert ghosting_percent(wide) is None


def test_without_brain_or_white_matter_ghosts_are_not_known():
    unknown = scan()
    unknown.brain[:] = False
    assert ghosting_percent(unknown) is None
    assert ghosting_percent(toy_slices(np.ones(AIR.shape), white_level=None, brain=BRAIN)) is None
