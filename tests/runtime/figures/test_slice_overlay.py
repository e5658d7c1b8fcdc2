"""Drawn slices: gray values, and outlines that hide no lesion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageColor

from wmh_runtime.figures.slice_overlay import (
    OUTLINE_COLOR,
    draw_slice,
    gray_from_intensities,
    lesion_outline,
    outline,
    stretch_mask,
)
from wmh_runtime.figures.window import Window


def drawn(mask: NDArray[np.bool_]) -> list[str]:
    return ["".join("#" if value else "." for value in row) for row in mask]


def test_the_outline_is_around_a_pixel_scaled_to_two_by_three() -> None:
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


def test_the_outline_of_an_l_shaped_lesion() -> None:
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


def test_a_lesion_of_one_pixel_is_kept_in_a_tenfold_smaller_picture() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[37, 52] = True  # 0.1 display pixels wide, at 3.7 and 5.2: rounds to row 4, column 5
    stretched = stretch_mask(mask, (10, 10))
    assert np.argwhere(stretched).tolist() == [[4, 5]]


def test_a_lesion_in_the_last_pixel_is_kept_in_a_smaller_picture() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[99, 99] = True
    assert np.argwhere(stretch_mask(mask, (10, 10))).tolist() == [[9, 9]]


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    factors=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 99),
)
def test_integer_factors_repeat_pixels(
    shape: tuple[int, int], factors: tuple[int, int], seed: int
) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.4
    repeated = mask.repeat(factors[0], axis=0).repeat(factors[1], axis=1)
    np.testing.assert_array_equal(stretch_mask(mask, repeated.shape), repeated)


def test_a_drawn_slice_is_colored_on_the_outline_and_gray_elsewhere() -> None:
    intensities = np.full((3, 3), 5, dtype=np.float32)
    mask = np.zeros((3, 3), dtype=bool)
    mask[1, 1] = True
    picture = draw_slice(intensities, mask, Window(0, 5), (24, 36))
    ring = outline(stretch_mask(mask, (24, 36)))  # around 8 x 12 pixels: beside the lesion
    assert ring.sum() == 10 * 14 - 8 * 12
    assert (picture[ring] == ImageColor.getrgb(OUTLINE_COLOR)).all()
    assert (picture[~ring] == 255).all()


def test_the_ends_of_the_window_are_black_and_white() -> None:
    intensities = np.array([[-9, 10, 30, 99, np.nan, np.inf]], dtype=np.float32)
    gray = gray_from_intensities(intensities, Window(10, 30))
    assert gray.tolist() == [[0, 0, 255, 255, 0, 255]]


def test_a_small_lesion_has_its_outline_at_a_distance() -> None:
    """One pixel: 2 pixels of distance on each side, then the outline, 7 pixels wide."""
    region = np.zeros((9, 9), dtype=bool)
    region[4, 4] = True
    assert drawn(lesion_outline(region)) == [
        ".........",
        ".#######.",
        ".#.....#.",
        ".#.....#.",
        ".#.....#.",
        ".#.....#.",
        ".#.....#.",
        ".#######.",
        ".........",
    ]


def test_a_large_lesion_has_its_outline_beside_it() -> None:
    region = np.zeros((20, 20), dtype=bool)
    region[4:12, 4:12] = True  # 64 pixels
    np.testing.assert_array_equal(lesion_outline(region), outline(region))


@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_an_outline_hides_no_lesion(shape: tuple[int, int], share: float, seed: int) -> None:
    region = np.pad(np.random.default_rng(seed).random(shape) < share, 3)
    ring = lesion_outline(region)
    assert not (ring & region).any()
    assert ring.any() == region.any()
