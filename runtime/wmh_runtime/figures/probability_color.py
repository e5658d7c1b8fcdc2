"""Colors of a probability map over a gray image: the more probable, the brighter and the denser.

Hue and brightness both change, so the order is visible for color-blind readers too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats

# Probability, then red, green, blue and opacity from 0 to 255. Below the first, nothing is drawn.
STOPS = (
    (0.05, (84, 39, 143, 90)),
    (0.25, (158, 42, 155, 150)),
    (0.50, (225, 82, 101, 190)),
    (0.75, (251, 155, 62, 215)),
    (1.00, (252, 240, 135, 235)),
)
SMALLEST_SHOWN = STOPS[0][0]


def color_of_probability(probability: Floats) -> NDArray[np.uint8]:
    """Return the color and opacity of each pixel.

    Args:
        probability: (rows, cols), in [0, 1].

    Returns:
        (rows, cols, 4) RGBA; opacity is 0 below `SMALLEST_SHOWN`.
    """
    places = [place for place, _ in STOPS]
    colors = np.stack(
        [
            np.interp(probability, places, [color[part] for _, color in STOPS])
            for part in range(len(STOPS[0][1]))
        ],
        axis=-1,
    )
    colors[probability < SMALLEST_SHOWN] = 0
    return np.rint(colors).astype(np.uint8)
