"""The shown part of the slices."""

from __future__ import annotations

import numpy as np

from wmh_runtime.figures.frame import Frame, find_frame


def test_the_frame_contains_head_and_lesions_with_a_margin() -> None:
    head = np.zeros((1, 200, 100), dtype=bool)
    head[0, 50:150, 10:60] = True
    masks = np.zeros_like(head)
    # margins: 4 % of 100 rows is 4; 4 % of 50 columns is 2
    assert find_frame(head, masks) == Frame(46, 154, 8, 62)
    masks[0, 100, 84] = True  # columns 10 to 84 inclusive: 75 of them, 4 % is 3
    assert find_frame(head, masks) == Frame(46, 154, 7, 88)


def test_a_frame_outside_the_slice_is_filled() -> None:
    image = np.array([[1, 2], [3, 4]], dtype=np.float32)
    cropped = Frame(-1, 2, 1, 4).crop(image, fill=9)
    assert cropped.tolist() == [[9, 9, 9], [2, 9, 9], [4, 9, 9]]
