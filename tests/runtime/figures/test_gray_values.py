"""Gray values of extreme intensities."""

import numpy as np
import pytest

from wmh_runtime.figures.slice_overlay import Window, gray_from_intensities


@pytest.mark.parametrize(
    ("low", "high", "above"),
    [
        (0.0, 100.0, 101.0),
        (0.0, 3e-46, 1.0),  # float32 has no smaller number than 1.4e-45
        (-3e38, 3e38, 3e38),  # the width is too large for float32
        (2.0**100, 2.0**100 + 1.0, 2.0**101),  # the width is 0
    ],
)
def test_a_window_of_any_width_goes_from_black_to_white(low, high, above):
    intensities = np.array([[low, above, np.nan]], np.float32)
    assert gray_from_intensities(intensities, Window(low, high)).tolist() == [[0, 255, 0]]
