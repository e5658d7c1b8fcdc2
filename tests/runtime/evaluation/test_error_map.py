"""Error maps: each kind of voxel has its color, and the plain slice is beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from wmh_runtime.evaluation.report.error_map import (
    FALSE_COLOR,
    FOUND_COLOR,
    MISSED_COLOR,
    CaseView,
    color_errors,
    draw_case,
    error_page,
)
from wmh_runtime.figures.page import PAGE_WIDTH_PX

BACKGROUND = round(255 * (1 / 3) ** 1.2)  # without a scan, with gamma


def colors_of(picture):
    packed = np.asarray(picture).astype(np.int32) @ [1 << 16, 1 << 8, 1]
    return {(color >> 16, color >> 8 & 255, color & 255) for color in np.unique(packed).tolist()}


def mixed(color, gray):
    """Return the mean of a color and a gray value."""
    return tuple(round(0.5 * part + 0.5 * gray) for part in ImageColor.getrgb(color))


def view(prediction, reference, slices=None, pixel_mm=(1.0, 2.0)):
    head = None if slices is None else np.ones(prediction.shape, bool)
    return CaseView("sub-1", "Dice 0.5", prediction, reference, pixel_mm, slices, head)


def test_found_missed_and_false_voxels_have_their_colors():
    """Four voxels on a slice of gray 100: found, missed, false, and background."""
    prediction = np.array([[True, False, True, False]])
    reference = np.array([[True, True, False, False]])
    gray = np.full((1, 4, 3), 100, np.uint8)
    picture = color_errors(gray, prediction, reference)
    expected = [mixed(c, 100) for c in (FOUND_COLOR, MISSED_COLOR, FALSE_COLOR)]
    assert [tuple(pixel) for pixel in picture[0].tolist()] == [*expected, (100, 100, 100)]


def test_the_anatomy_is_visible_under_the_colors():
    """Two found voxels of gray 60 and 160: half of their difference remains."""
    gray = np.array([[[60] * 3, [160] * 3]], np.uint8)
    found = np.ones((1, 2), bool)
    dark, bright = color_errors(gray, found, found)[0].astype(int)
    assert (bright - dark).tolist() == [50, 50, 50]


@pytest.mark.parametrize("with_scan", [True, False])
def test_the_slice_with_the_most_errors_is_shown(with_scan):
    """20 slices with one false voxel each; in the 14th, a lesion is also missed."""
    prediction = np.zeros((20, 16, 12), bool)
    prediction[:, 4, 4] = True
    reference = np.zeros_like(prediction)
    reference[13, 8:10, 8:10] = True
    scan = np.random.default_rng(0).random((20, 16, 12), np.float32) if with_scan else None
    band = np.asarray(draw_case(view(prediction, reference, scan))).astype(int)
    # Half yellow: as much red as green, and much less blue.
    is_yellow = (band[..., 0] > 110) & (band[..., 1] > 110) & (band[..., 2] < band[..., 0] - 60)
    assert is_yellow.any()


def test_the_plain_slice_is_left_of_the_colored_one():
    lesion = np.zeros((1, 30, 30), bool)
    lesion[0, 10:20, 10:20] = True
    scan = np.random.default_rng(0).random((1, 30, 30), np.float32)
    band = np.asarray(draw_case(view(lesion, lesion, scan, (1.0, 1.0)))).astype(int)
    colored = np.flatnonzero((np.ptp(band, axis=2) > 40).any(axis=0))
    first_cell_ends_px = 24 + 237  # the margin, and one of six columns of 1500 pixels
    assert colored.min() > first_cell_ends_px
    assert (band[200, 24:first_cell_ends_px].max(axis=1) > 60).any()


def test_the_sides_of_the_patient_are_marked():
    """Only letters and numbers are brighter than the empty grid and without color."""
    lesion = np.zeros((1, 300, 300), bool)
    band = np.asarray(draw_case(view(lesion, lesion, pixel_mm=(1.0, 1.0))))
    cell = band[70:]
    is_letter = (cell[..., 0] > 150) & (cell[..., 2] > 150)
    rows, columns = np.nonzero(is_letter)
    first, last = columns.min(), columns.max()
    assert last - first > 200  # R on the left, L on the right of a cell of 245 pixels
    assert np.ptp(rows[columns < first + 12]) > 100  # the number above, R in the middle


def test_cases_without_errors_and_without_lesions_are_drawn():
    lesion = np.zeros((5, 16, 12), bool)
    empty = draw_case(view(lesion, lesion))
    lesion[2, 4:6, 4:6] = True
    correct = draw_case(view(lesion, lesion))
    assert mixed(FOUND_COLOR, BACKGROUND) in colors_of(correct)
    assert mixed(FOUND_COLOR, BACKGROUND) not in colors_of(empty)
    page = error_page("The cases", ["model a"], ["be careful"], [correct, empty])
    assert page.height > correct.height + empty.height
    assert {ImageColor.getrgb(c) for c in (FOUND_COLOR, MISSED_COLOR, FALSE_COLOR)} <= (
        colors_of(page)
    )


@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40)),
    pixel_mm=st.tuples(st.floats(0.2, 8), st.floats(0.2, 8)),
    shares=st.tuples(*[st.sampled_from([0.0, 0.02, 0.5, 1.0])] * 3),
    with_scan=st.booleans(),
    text=st.text(),
)
def test_every_case_can_be_drawn(shape, pixel_mm, shares, with_scan, text):
    random = np.random.default_rng(0)
    prediction, reference, head = (random.random(shape) < share for share in shares)
    scan = random.normal(size=shape).astype(np.float32) if with_scan else None
    case = CaseView(text, text, prediction, reference, pixel_mm, scan, head if with_scan else None)
    page = error_page(text, [text], [text], [draw_case(case)])
    assert page.width == PAGE_WIDTH_PX
