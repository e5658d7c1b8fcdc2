"""One slice as a picture: grey at the size it is displayed, lesions outlined.

The picture has the slice's physical proportions, so its scale differs along rows and columns when
pixels are not square. Both layers are stretched from pixel edge to pixel edge and so stay aligned:
the grey layer smoothly, the mask layer pixel by pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from wmh_runtime.figures.page import GAP_PX, MARGIN_PX, PAGE_WIDTH_PX
from wmh_runtime.figures.slice_selection import Frame, Window

GAMMA = 1.2  # above 1 darkens the middle greys, which sets lesions off from white matter
MAX_CELL_HEIGHT_PX = 760
OUTLINE_COLOR = "#ff7a1a"  # orange: told from grey with every kind of color vision


def draw_slice(
    intensities: NDArray[np.float32],
    mask: NDArray[np.bool_],
    window: Window,
    shape_px: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw a slice with its lesions outlined.

    Args:
        intensities: (rows, cols).
        mask: (rows, cols), lesion.
        window: intensities drawn black and white.
        shape_px: (height, width) of the picture, which sets its proportions.

    Returns:
        (height, width, 3) RGB.
    """
    height, width = shape_px
    grey = Image.fromarray(grey_from_intensities(intensities, window))
    picture = np.array(grey.resize((width, height), Image.Resampling.BICUBIC).convert("RGB"))
    picture[outline(stretch_mask(mask, shape_px))] = ImageColor.getrgb(OUTLINE_COLOR)
    return picture


def grey_from_intensities(intensities: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    """Grey values 0 to 255 of the same shape; NaN is black."""
    share = (np.nan_to_num(intensities, nan=window.low) - window.low) / (window.high - window.low)
    grey: NDArray[np.uint8] = np.rint(255 * np.clip(share, 0.0, 1.0) ** GAMMA).astype(np.uint8)
    return grey


def stretch_mask(mask: NDArray[np.bool_], shape_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Scale a mask pixel by pixel, so that no pixel of it is lost even when it shrinks.

    Args:
        mask: (rows, cols).
        shape_px: (height, width) of the result.

    Returns:
        (height, width). Every mask pixel covers the rectangle between its scaled edges, rounded
        to display pixels, and at least one display pixel.
    """
    down = _coverage(mask.shape[0], shape_px[0])  # (height, rows)
    across = _coverage(mask.shape[1], shape_px[1])  # (width, cols)
    stretched: NDArray[np.bool_] = (down @ mask.astype(np.float32) @ across.T) > 0
    return stretched


def _coverage(count: int, count_px: int) -> NDArray[np.float32]:
    """(count_px, count): 1 where a display pixel belongs to a mask pixel, along one axis."""
    edges = np.rint(np.arange(count + 1) * (count_px / count)).astype(int)
    starts = np.minimum(edges[:-1], count_px - 1)
    stops = np.maximum(edges[1:], starts + 1)
    places = np.arange(count_px)[:, np.newaxis]
    covered: NDArray[np.bool_] = (starts <= places) & (places < stops)
    return covered.astype(np.float32)


def outline(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that touch a region by an edge or a corner but are not in it.

    The outline runs outside the region, so that a region of one pixel stays visible inside it.
    """
    rows, columns = region.shape
    padded = np.pad(region, 1)
    grown = np.zeros_like(region)
    for down in range(3):
        for across in range(3):
            grown |= padded[down : down + rows, across : across + columns]
    return grown & ~region


def cell_shape(frame: Frame, pixel_mm: tuple[float, float], columns: int) -> tuple[int, int]:
    """The largest (height, width) in pixels with the frame's physical proportions that fits."""
    height_mm, width_mm = frame.shape[0] * pixel_mm[0], frame.shape[1] * pixel_mm[1]
    widest = (PAGE_WIDTH_PX - 2 * MARGIN_PX + GAP_PX) // columns - GAP_PX
    px_per_mm = min(widest / width_mm, MAX_CELL_HEIGHT_PX / height_mm)
    return max(1, round(height_mm * px_per_mm)), max(1, round(width_mm * px_per_mm))
