"""The quality-control image: correct proportions and sides, no lesion without outline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor

from wmh_runtime.figures.frame import Frame, find_frame
from wmh_runtime.figures.page import PAGE_WIDTH_PX
from wmh_runtime.figures.slice_overlay import (
    OUTLINE_COLOR,
    cell_shape,
    outline,
    stretch_mask,
)
from wmh_runtime.outputs.pictures.qc_page import REGION_COLORS, QcCaption, draw_quality_control

CAPTION = QcCaption("sub-01_FLAIR", ("0.01 mL", "1 lesion", "minimum 3 mm³"))


def head_of(slices: NDArray[np.float32]) -> NDArray[np.bool_]:
    return slices > 0.12 * slices.max()


def page_of(
    slices: NDArray[np.float32],
    masks: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    caption: QcCaption,
) -> Image.Image:
    return draw_quality_control(slices, head_of(slices), masks, pixel_mm, caption)


def scan_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the gray values of the scan; 0 on page and letters, whose colors are not gray."""
    rgb = np.asarray(picture)
    untinted = (rgb == rgb[..., :1]).all(axis=2)
    return np.where(untinted, rgb[..., 0], 0).astype(np.uint8)


def count_of_outline_color(picture: Image.Image) -> int:
    return int((np.asarray(picture) == ImageColor.getrgb(OUTLINE_COLOR)).all(axis=2).sum())


def empty_masks(slices: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.zeros(slices.shape, dtype=bool)


def test_a_square_in_mm_is_a_square_on_the_page() -> None:
    # 10 rows of 1 mm and 4 columns of 2.5 mm: 10 mm x 10 mm
    slices = np.zeros((1, 40, 16), dtype=np.float32)
    slices[0, 15:25, 6:10] = 1
    picture = page_of(slices, empty_masks(slices), (1.0, 2.5), CAPTION)
    rows, columns = np.nonzero(scan_pixels(picture) >= 128)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height > 300
    assert width == pytest.approx(height, rel=0.02)


def test_a_cell_has_the_proportions_of_its_frame() -> None:
    # 30 x 3 mm = 90 mm high, 50 x 1.2 mm = 60 mm wide
    height, width = cell_shape(Frame(0, 30, 0, 50), (3.0, 1.2), columns=6)
    assert height / width == pytest.approx(1.5, rel=0.01)


def test_column_0_is_on_the_left_and_row_0_on_top() -> None:
    slices = np.zeros((1, 20, 20), dtype=np.float32)
    slices[0, 2:18, 2:18] = 50  # the darkest intensity of the head: drawn black
    slices[0, 2:7, 2:7] = 100
    picture = page_of(slices, empty_masks(slices), (1.0, 1.0), CAPTION)
    scan = scan_pixels(picture)
    rows, columns = np.nonzero(scan >= 200)
    assert columns.max() < PAGE_WIDTH_PX / 2
    assert rows.max() < scan.shape[0] / 2


def test_slices_go_from_left_to_right() -> None:
    """The upper half of the head sets the window: 100 is the brain, and 50 is drawn black."""
    slices = np.zeros((2, 20, 20), dtype=np.float32)
    slices[0, 2:18, 2:18] = 50
    slices[1, 2:18, 2:18] = 100
    picture = page_of(slices, empty_masks(slices), (1.0, 1.0), CAPTION)
    _, columns = np.nonzero(scan_pixels(picture) >= 90)
    assert columns.min() > PAGE_WIDTH_PX / 2


def test_only_lesions_have_the_outline_color() -> None:
    slices = np.random.default_rng(3).random((4, 30, 30), dtype=np.float32)
    masks = empty_masks(slices)
    without = page_of(slices, masks, (1.0, 1.0), CAPTION)
    assert count_of_outline_color(without) == 0
    masks[2, 10, 10] = True
    with_lesion = page_of(slices, masks, (1.0, 1.0), CAPTION)
    assert count_of_outline_color(with_lesion) > 0


def test_regions_are_outlined_in_their_own_colors() -> None:
    slices = np.random.default_rng(3).random((4, 30, 30), dtype=np.float32)
    masks, inner = empty_masks(slices), empty_masks(slices)
    inner[2, 8:20, 8:20] = True
    below = empty_masks(slices)
    below[0, 20:28, 8:20] = True
    regions = {"brain": np.ones_like(inner), "ventricles": inner, "posterior": below}
    for shown in (regions, {}):
        page = draw_quality_control(slices, head_of(slices), masks, (1.0, 1.0), CAPTION, shown)
        for color in REGION_COLORS:
            has_color = (np.asarray(page) == ImageColor.getrgb(color)).all(axis=2)
            assert has_color.any() == bool(shown)


def test_the_same_slices_of_a_further_image_are_shown_with_the_outlines() -> None:
    slices = np.random.default_rng(3).random((4, 60, 60), dtype=np.float32)
    masks = empty_masks(slices)
    masks[2, 20:40, 20:40] = True
    shifted = np.roll(slices, 30, axis=1)
    page, taller = (
        draw_quality_control(slices, head_of(slices), masks, (1.0, 1.0), CAPTION, None, others)
        for others in ({}, {"T1: sub-1_T1w": shifted})
    )
    # One more row of large slices, with one more outline, and a line with the name.
    assert taller.height > page.height + PAGE_WIDTH_PX / 5
    assert count_of_outline_color(taller) > 1.3 * count_of_outline_color(page)
    masks[:] = False  # slices from the middle then
    assert (
        draw_quality_control(
            slices, head_of(slices), masks, (1.0, 1.0), CAPTION, None, {"T1": shifted}
        ).height
        > PAGE_WIDTH_PX / 5
    )


def test_a_lesion_in_the_corner_of_the_scan_has_a_complete_outline() -> None:
    slices = np.ones((1, 10, 10), dtype=np.float32)
    masks = empty_masks(slices)
    masks[0, 9, 9] = True
    head = head_of(slices)
    frame = find_frame(head, masks)
    ring = outline(stretch_mask(frame.crop(masks[0], fill=False), (120, 120)))
    # 12 x 12 pixels with the margin of 1, 10 display pixels each: a ring around 10 x 10
    assert ring.sum() == 12 * 12 - 10 * 10


def test_a_lesion_is_shown_large_without_its_outline_too() -> None:
    """One slice: two cells above, one below. The left one above has no orange but its number."""
    slices = np.random.default_rng(3).random((1, 60, 60), dtype=np.float32)
    masks = empty_masks(slices)
    without = page_of(slices, masks, (1.0, 1.0), CAPTION)
    masks[0, 20:40, 20:40] = True
    page = page_of(slices, masks, (1.0, 1.0), CAPTION)
    cell_px = 358  # four columns on the page
    assert page.height > without.height + cell_px
    top = 24 + 75 + 24  # margin, header, margin
    left = PAGE_WIDTH_PX // 2 - cell_px
    below_number = (left, top + 40, PAGE_WIDTH_PX // 2 - 6, top + cell_px)
    plain = page.crop(below_number)
    outlined = page.crop((PAGE_WIDTH_PX // 2 + 6, top + 40, left + 2 * cell_px, top + cell_px))
    assert count_of_outline_color(plain) == 0
    assert count_of_outline_color(outlined) > 200


def test_a_lesion_of_three_pixels_is_not_hidden_by_its_outline() -> None:
    """White pixels in a black brain; the only white pixels of the page that are not letters."""
    slices = np.zeros((1, 200, 200), dtype=np.float32)
    slices[0, 10:190, 10:190] = 1
    slices[0, 100, 100:103] = 2
    masks = slices == 2
    page = page_of(slices, masks, (1.0, 1.0), CAPTION)
    assert (scan_pixels(page) == 255).sum() > 3 * 7 * 7  # 7 display pixels a pixel in one column


def test_the_same_input_gives_the_same_picture() -> None:
    slices = np.random.default_rng(4).random((3, 12, 9), dtype=np.float32)
    masks = slices > 0.9
    first, second = (page_of(slices, masks, (2.0, 0.7), CAPTION) for _ in range(2))
    assert first.mode == "RGB"
    assert first.width == PAGE_WIDTH_PX
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, np.nan, np.inf])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 20, 30), (5, 3, 200), (30, 200, 3)])
def test_scans_without_contrast_are_drawn(value: float, shape: tuple[int, int, int]) -> None:
    slices = np.full(shape, value, dtype=np.float32)
    picture = page_of(slices, empty_masks(slices), (1.2, 3.0), CAPTION)
    assert picture.width == PAGE_WIDTH_PX


def test_a_mask_that_covers_the_whole_scan_is_drawn() -> None:
    slices = np.zeros((2, 8, 8), dtype=np.float32)
    masks = np.ones(slices.shape, dtype=bool)
    assert count_of_outline_color(page_of(slices, masks, (1, 1), CAPTION)) > 0


def test_a_long_caption_makes_the_page_higher_not_wider() -> None:
    slices = np.ones((1, 8, 8), dtype=np.float32)
    long = QcCaption("x" * 500, ("27 lesions",) * 60, ("a word " * 60, "b" * 900))
    pictures = [
        page_of(slices, empty_masks(slices), (1.0, 1.0), caption)
        for caption in (QcCaption("", ()), long)
    ]
    assert pictures[0].width == pictures[1].width
    assert pictures[0].height < pictures[1].height


def test_arrays_of_different_shapes_are_refused() -> None:
    slices = np.ones((2, 4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="equal stacks"):
        page_of(slices, np.zeros((2, 4, 5), dtype=bool), (1.0, 1.0), CAPTION)
    with pytest.raises(ValueError, match="equal stacks"):
        page_of(slices[0], empty_masks(slices[0]), (1.0, 1.0), CAPTION)
    with pytest.raises(ValueError, match="pixel size"):
        page_of(slices, empty_masks(slices), (0.0, 1.0), CAPTION)


@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    pixel_mm=st.tuples(st.floats(0.2, 8), st.floats(0.2, 8)),
    head_share=st.sampled_from([0.0, 0.001, 0.5, 1.0]),
    mask_share=st.sampled_from([0.0, 0.001, 0.3, 1.0]),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
    text=st.text(),
)
def test_every_scan_can_be_drawn(
    shape: tuple[int, int, int],
    pixel_mm: tuple[float, float],
    head_share: float,
    mask_share: float,
    scale: float,
    text: str,
) -> None:
    random = np.random.default_rng(0)
    slices = (scale * random.normal(size=shape)).astype(np.float32)
    head, masks = (random.random(shape) < share for share in (head_share, mask_share))
    caption = QcCaption(text, (text,) * 3, (text,))
    assert draw_quality_control(slices, head, masks, pixel_mm, caption).width == PAGE_WIDTH_PX
