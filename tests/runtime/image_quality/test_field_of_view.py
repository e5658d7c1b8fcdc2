import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.field_of_view import largest_cut_percent

BRAIN = np.zeros((10, 30, 40), bool)
BRAIN[2:, 10:20, 10:30] = True  # sections of 200 voxels
BRAIN[-1, :, 17:] = False  # 70 in the last one


def cut_of(brain, **more):
    return largest_cut_percent(toy_slices(np.zeros(brain.shape), brain=brain, **more))


def test_the_largest_section_at_a_side_is_named():
    assert cut_of(BRAIN) == (pytest.approx(35), "top")
    assert cut_of(BRAIN[::-1]) == (pytest.approx(35), "bottom")
    # Across the rows, the largest section has 7 · 20 + 7 voxels, and it is the same in all rows.
    assert cut_of(BRAIN[:, 12:]) == (pytest.approx(100), "front")
    # Across the columns, it has 8 · 10 voxels, and 7 · 10 in the last column that is left.
    assert cut_of(BRAIN[:, :, :25]) == (pytest.approx(87.5), "left")


def test_constant_background_is_not_part_of_the_image():
    padded = np.pad(BRAIN, ((3, 3), (0, 0), (0, 0)))
    background = np.ones(padded.shape, bool)
    background[3:-3] = False
    assert cut_of(padded, background=background) == (pytest.approx(35), "top")
    assert cut_of(padded)[0] == 0


def test_without_brain_a_cut_is_not_known():
    assert cut_of(np.zeros((3, 3, 3), bool)) == (None, "")
