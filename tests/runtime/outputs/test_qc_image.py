"""The quality-control image: correct proportions and sides, no lesion without outline."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor

from wmh_runtime.figures.page import PAGE_WIDTH_PX
from wmh_runtime.figures.slice_overlay import (
    OUTLINE_COLOR,
    cell_shape,
    draw_slice,
    gray_from_intensities,
    outline,
    stretch_mask,
)
from wmh_runtime.figures.slice_selection import (
    Frame,
    Window,
    find_frame,
    find_window,
    select_slices,
)
from wmh_runtime.figures.text import (
    SUPERSCRIPTS,
    drawable,
    has_glyph,
    shorten_middle,
    text_width,
    wrap_lines,
)
from wmh_runtime.outputs.qc_image import MAX_COLUMNS, MAX_ROWS, QcCaption, draw_quality_control

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


def drawn(mask: NDArray[np.bool_]) -> list[str]:
    return ["".join("#" if value else "." for value in row) for row in mask]


def scan_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the gray values of the scan; 0 on page and letters, whose colors are not gray."""
    rgb = np.asarray(picture)
    untinted = (rgb == rgb[..., :1]).all(axis=2)
    return np.where(untinted, rgb[..., 0], 0).astype(np.uint8)


def count_of_outline_color(picture: Image.Image) -> int:
    return int((np.asarray(picture) == ImageColor.getrgb(OUTLINE_COLOR)).all(axis=2).sum())


def empty_masks(slices: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.zeros(slices.shape, dtype=bool)


class TestOutline:
    def test_the_outline_is_around_a_pixel_scaled_to_two_by_three(self) -> None:
        mask = np.zeros((3, 3), dtype=bool)
        mask[1, 1] = True
        stretched = stretch_mask(mask, (6, 9))
        assert drawn(stretched) == [
            ".........",
            ".........",
            "...###...",
            "...###...",
            ".........",
            ".........",
        ]
        assert drawn(outline(stretched)) == [
            ".........",
            "..#####..",
            "..#...#..",
            "..#...#..",
            "..#####..",
            ".........",
        ]

    def test_the_outline_of_an_l_shaped_lesion(self) -> None:
        region = np.zeros((6, 6), dtype=bool)
        region[1:5, 1] = True
        region[4, 1:5] = True
        assert drawn(outline(region)) == [
            "###...",
            "#.#...",
            "#.#...",
            "#.####",
            "#....#",
            "######",
        ]

    def test_a_lesion_of_one_pixel_is_kept_in_a_tenfold_smaller_picture(self) -> None:
        mask = np.zeros((100, 100), dtype=bool)
        mask[37, 52] = True  # 0.1 display pixels wide, at 3.7 and 5.2: rounds to row 4, column 5
        stretched = stretch_mask(mask, (10, 10))
        assert np.argwhere(stretched).tolist() == [[4, 5]]

    def test_a_lesion_in_the_last_pixel_is_kept_in_a_smaller_picture(self) -> None:
        mask = np.zeros((100, 100), dtype=bool)
        mask[99, 99] = True
        assert np.argwhere(stretch_mask(mask, (10, 10))).tolist() == [[9, 9]]

    @given(
        shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
        factors=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        seed=st.integers(0, 99),
    )
    def test_integer_factors_repeat_pixels(
        self, shape: tuple[int, int], factors: tuple[int, int], seed: int
    ) -> None:
        mask = np.random.default_rng(seed).random(shape) < 0.4
        repeated = mask.repeat(factors[0], axis=0).repeat(factors[1], axis=1)
        np.testing.assert_array_equal(stretch_mask(mask, repeated.shape), repeated)

    def test_a_drawn_slice_is_colored_on_the_outline_and_gray_elsewhere(self) -> None:
        intensities = np.full((3, 3), 5, dtype=np.float32)
        mask = np.zeros((3, 3), dtype=bool)
        mask[1, 1] = True
        picture = draw_slice(intensities, mask, Window(0, 5), (6, 9))
        ring = outline(stretch_mask(mask, (6, 9)))
        assert (picture[ring] == ImageColor.getrgb(OUTLINE_COLOR)).all()
        assert (picture[~ring] == 255).all()


class TestGrayValues:
    def test_the_ends_of_the_window_are_black_and_white(self) -> None:
        intensities = np.array([[-9, 10, 30, 99, np.nan, np.inf]], dtype=np.float32)
        gray = gray_from_intensities(intensities, Window(10, 30))
        assert gray.tolist() == [[0, 0, 255, 255, 0, 255]]


class TestSliceSelection:
    def test_the_window_of_a_uniform_head_includes_the_air(self) -> None:
        slices = np.zeros((1, 10, 10), dtype=np.float32)
        slices[:, 2:8, 2:8] = 7
        assert find_window(slices, slices > 0) == Window(0, 7)

    def test_slices_without_lesions_are_the_middles_of_even_runs(self) -> None:
        head = np.ones((12, 2, 2), dtype=bool)  # runs 0-2, 3-5, 6-8, 9-11
        assert select_slices(head, np.zeros_like(head), 4) == [1, 4, 7, 10]

    def test_every_slice_with_lesions_is_shown_if_there_is_room(self) -> None:
        head = np.ones((12, 2, 2), dtype=bool)
        masks = np.zeros_like(head)
        masks[[3, 5], 0, 0] = True
        # Two slots remain, for 0 1 2 4 6 and 7 8 9 10 11; 2 and 4 are equally close to 3.
        assert select_slices(head, masks, 4) == [2, 3, 5, 9]

    def test_a_quarter_of_the_slots_is_for_slices_without_lesions(self) -> None:
        head = np.ones((12, 2, 2), dtype=bool)
        masks = np.zeros_like(head)
        masks[3:9, 0, 0] = True  # runs 3-4, 5-6, 7-8
        masks[6] = True
        # 0 1 2 9 10 11 share the last slot; the closest to 5.5 is 2.
        assert select_slices(head, masks, 4) == [2, 3, 6, 7]

    def test_slices_that_are_not_shown_are_evenly_distributed(self) -> None:
        masks = np.ones((25, 2, 2), dtype=bool)
        not_shown = sorted({*range(25)} - {*select_slices(masks, masks, 18)})
        # 7 of 25 are not shown, about every 3.6th: the distances between them are 3 or 4.
        assert {after - before for before, after in pairwise(not_shown)} == {3, 4}

    def test_slices_without_head_are_shown_only_if_they_have_lesions(self) -> None:
        head = np.zeros((10, 2, 2), dtype=bool)
        head[3:6] = True
        masks = np.zeros_like(head)
        assert select_slices(head, masks, 20) == [3, 4, 5]
        masks[7, 0, 0] = True
        assert select_slices(head, masks, 20) == [3, 4, 5, 7]

    @given(
        areas=st.lists(st.integers(0, 5), min_size=1, max_size=60),
        max_count=st.integers(1, 24),
    )
    def test_the_slice_with_most_lesion_is_selected(self, areas: list[int], max_count: int) -> None:
        masks = np.arange(5) < np.array(areas)[:, np.newaxis, np.newaxis]  # (n, 1, 5)
        selected = select_slices(np.ones_like(masks), masks, max_count)
        assert selected == sorted(set(selected))
        assert len(selected) == min(max_count, len(areas))
        assert max(areas) == max(areas[index] for index in selected)

    def test_the_frame_contains_head_and_lesions_with_a_margin(self) -> None:
        head = np.zeros((1, 200, 100), dtype=bool)
        head[0, 50:150, 10:60] = True
        masks = np.zeros_like(head)
        # margins: 4 % of 100 rows is 4; 4 % of 50 columns is 2
        assert find_frame(head, masks) == Frame(46, 154, 8, 62)
        masks[0, 100, 84] = True  # columns 10 to 84 inclusive: 75 of them, 4 % is 3
        assert find_frame(head, masks) == Frame(46, 154, 7, 88)

    def test_a_frame_outside_the_slice_is_filled(self) -> None:
        image = np.array([[1, 2], [3, 4]], dtype=np.float32)
        cropped = Frame(-1, 2, 1, 4).crop(image, fill=9)
        assert cropped.tolist() == [[9, 9, 9], [2, 9, 9], [4, 9, 9]]


class TestPage:
    def test_a_square_in_mm_is_a_square_on_the_page(self) -> None:
        # 10 rows of 1 mm and 4 columns of 2.5 mm: 10 mm x 10 mm
        slices = np.zeros((1, 40, 16), dtype=np.float32)
        slices[0, 15:25, 6:10] = 1
        picture = page_of(slices, empty_masks(slices), (1.0, 2.5), CAPTION)
        rows, columns = np.nonzero(scan_pixels(picture) >= 128)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height > 300
        assert width == pytest.approx(height, rel=0.02)

    def test_a_cell_has_the_proportions_of_its_frame(self) -> None:
        # 30 x 3 mm = 90 mm high, 50 x 1.2 mm = 60 mm wide
        height, width = cell_shape(Frame(0, 30, 0, 50), (3.0, 1.2), columns=6)
        assert height / width == pytest.approx(1.5, rel=0.01)

    def test_column_0_is_on_the_left_and_row_0_on_top(self) -> None:
        slices = np.zeros((1, 20, 20), dtype=np.float32)
        slices[0, 2:18, 2:18] = 50  # the darkest intensity of the head: drawn black
        slices[0, 2:7, 2:7] = 100
        picture = page_of(slices, empty_masks(slices), (1.0, 1.0), CAPTION)
        scan = scan_pixels(picture)
        rows, columns = np.nonzero(scan >= 200)
        assert columns.max() < PAGE_WIDTH_PX / 2
        assert rows.max() < scan.shape[0] / 2

    def test_slices_go_from_left_to_right(self) -> None:
        slices = np.zeros((2, 20, 20), dtype=np.float32)
        slices[0, 2:18, 2:18] = 50  # the darkest intensity of the head: drawn black
        slices[1, 2:18, 2:18] = 100
        picture = page_of(slices, empty_masks(slices), (1.0, 1.0), CAPTION)
        _, columns = np.nonzero(scan_pixels(picture) >= 200)
        assert columns.min() > PAGE_WIDTH_PX / 2

    def test_only_lesions_have_the_outline_color(self) -> None:
        slices = np.random.default_rng(3).random((4, 30, 30), dtype=np.float32)
        masks = empty_masks(slices)
        without = page_of(slices, masks, (1.0, 1.0), CAPTION)
        assert count_of_outline_color(without) == 0
        masks[2, 10, 10] = True
        with_lesion = page_of(slices, masks, (1.0, 1.0), CAPTION)
        assert count_of_outline_color(with_lesion) > 0

    def test_a_lesion_in_the_corner_of_the_scan_has_a_complete_outline(self) -> None:
        slices = np.ones((1, 10, 10), dtype=np.float32)
        masks = empty_masks(slices)
        masks[0, 9, 9] = True
        head = head_of(slices)
        frame = find_frame(head, masks)
        ring = outline(stretch_mask(frame.crop(masks[0], fill=False), (120, 120)))
        # 12 x 12 pixels with the margin of 1, 10 display pixels each: a ring around 10 x 10
        assert ring.sum() == 12 * 12 - 10 * 10

    def test_there_are_at_most_as_many_slices_as_cells(self) -> None:
        slices = np.ones((200, 4, 4), dtype=np.float32)
        masks = empty_masks(slices)
        assert len(select_slices(head_of(slices), masks, MAX_COLUMNS * MAX_ROWS)) == 24

    def test_the_same_input_gives_the_same_picture(self) -> None:
        slices = np.random.default_rng(4).random((3, 12, 9), dtype=np.float32)
        masks = slices > 0.9
        first, second = (page_of(slices, masks, (2.0, 0.7), CAPTION) for _ in range(2))
        assert first.mode == "RGB"
        assert first.width == PAGE_WIDTH_PX
        assert first.tobytes() == second.tobytes()

    @pytest.mark.parametrize("value", [0.0, 7.0, -3.0, np.nan, np.inf])
    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 20, 30), (5, 3, 200), (30, 200, 3)])
    def test_scans_without_contrast_are_drawn(
        self, value: float, shape: tuple[int, int, int]
    ) -> None:
        slices = np.full(shape, value, dtype=np.float32)
        picture = page_of(slices, empty_masks(slices), (1.2, 3.0), CAPTION)
        assert picture.width == PAGE_WIDTH_PX

    def test_a_mask_that_covers_the_whole_scan_is_drawn(self) -> None:
        slices = np.zeros((2, 8, 8), dtype=np.float32)
        masks = np.ones(slices.shape, dtype=bool)
        assert count_of_outline_color(page_of(slices, masks, (1, 1), CAPTION)) > 0

    def test_a_long_caption_makes_the_page_higher_not_wider(self) -> None:
        slices = np.ones((1, 8, 8), dtype=np.float32)
        long = QcCaption("x" * 500, ("27 lesions",) * 60, ("a word " * 60, "b" * 900))
        pictures = [
            page_of(slices, empty_masks(slices), (1.0, 1.0), caption)
            for caption in (QcCaption("", ()), long)
        ]
        assert pictures[0].width == pictures[1].width
        assert pictures[0].height < pictures[1].height

    def test_arrays_of_different_shapes_are_refused(self) -> None:
        slices = np.ones((2, 4, 4), dtype=np.float32)
        with pytest.raises(ValueError, match="equal stacks"):
            page_of(slices, np.zeros((2, 4, 5), dtype=bool), (1.0, 1.0), CAPTION)
        with pytest.raises(ValueError, match="equal stacks"):
            page_of(slices[0], empty_masks(slices[0]), (1.0, 1.0), CAPTION)
        with pytest.raises(ValueError, match="pixel size"):
            page_of(slices, empty_masks(slices), (0.0, 1.0), CAPTION)


class TestText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("3 mm³ · 12 µL", "3 mm³ · 12 uL"),
            ("0.9 × 3", "0.9 x 3"),
            ("a\tb\nc", "a b c"),
            ("José", "Jose"),
            ("Jose\u0301", "Jose"),
            ("脳", "?"),
            ("\udc80", "?"),  # how Python represents an undecodable byte in a file name
        ],
    )
    def test_characters_that_the_font_lacks_are_replaced(self, text: str, expected: str) -> None:
        assert drawable(text) == expected
        assert all(has_glyph(SUPERSCRIPTS.get(letter, letter)) for letter in expected)

    def test_a_superscript_is_narrower_than_a_digit(self) -> None:
        assert 0 < text_width("mm³", 40) - text_width("mm", 40) < text_width("3", 40)

    def test_long_names_keep_both_ends(self) -> None:
        name = "sub-0123456789_ses-0123456789_FLAIR"
        short = shorten_middle(name, 20, 200)
        assert text_width(short, 20) <= 200
        head, tail = short.split("…")
        assert name.startswith(head)
        assert name.endswith(tail)
        assert abs(len(head) - len(tail)) <= 1
        assert shorten_middle(name, 20, 2000) == name

    def test_pieces_are_wrapped_in_order(self) -> None:
        width = text_width("aa · aa", 20)
        assert wrap_lines(["aa", "aa", "aa"], " · ", 20, width) == ["aa · aa", "aa"]
        assert wrap_lines([], " ", 20, width) == []
