import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.ghosting import ghosting_percent

HEAD = np.zeros((8, 80, 60), bool)  # rows of 1 mm, columns of 2 mm
HEAD[1:7, 25:55, 20:40] = True
IN_ROWS, IN_COLUMNS = np.s_[:, 25:55, :], np.s_[:, :, 20:40]


def scan(corners=3.0, ghost_in=None, ghost=5.0, head=HEAD):
    """Noise in the air, stronger beside the head along one axis; white matter is 100."""
    spread = np.full(HEAD.shape, corners)
    if ghost_in is not None:
        spread[ghost_in] = ghost
    stack = np.where(HEAD, 100, np.random.default_rng(1).normal(0, 1, HEAD.shape) * spread)
    return toy_slices(stack, spacing_mm=(5.0, 1.0, 2.0), head=head)


@pytest.mark.parametrize("ghost_in", [IN_ROWS, IN_COLUMNS])
def test_ghosts_beside_the_head_are_compared_with_the_corners(ghost_in):
    # √(5² − 3²) = 4, along either axis
    assert ghosting_percent(scan(ghost_in=ghost_in)) == pytest.approx(4, abs=0.2)


def test_noise_alone_is_no_ghost():
    assert ghosting_percent(scan()) == pytest.approx(0, abs=0.5)


def test_the_skin_is_left_out():
    near = np.zeros(HEAD.shape, bool)
    near[:, 18:62, 17:43] = True  # up to 7 mm and 3 columns of 2 mm from the head
    slices = scan()
    slices.stack[near & ~HEAD] = 60
    assert ghosting_percent(slices) == pytest.approx(0, abs=0.5)


def test_slices_without_head_are_left_out():
    slices = scan()
    slices.stack[[0, 7]] = 90
    assert ghosting_percent(slices) == pytest.approx(0, abs=0.5)


def test_a_bright_object_counts_no_more_than_white_matter():
    slices = scan(corners=0.1)
    slices.stack[3, 30:40, :4] = 1e6  # 40 of 6 · 30 · 32 voxels beside the head: √(40 / 5760)
    assert ghosting_percent(slices) == pytest.approx(8.3, abs=0.1)


def test_cleared_or_little_air_is_not_measurable():
    cleared = scan(ghost_in=IN_ROWS)
    cleared.stack[:, ::2] = 0
    assert ghosting_percent(cleared) is None
    removed = scan()
    removed.measured[:] = HEAD
    assert ghosting_percent(removed) is None
    wide = HEAD.copy()
    wide[:, 4:76] = True  # no corner is left
    assert ghosting_percent(scan(head=wide)) is None
