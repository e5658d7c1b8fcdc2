"""Draw a slice in gray at display size, with outlines around regions or regions in color.

The picture has the physical proportions of the slice: if its pixels are not square, the scale
factors along rows and columns differ. The image and the mask are scaled from pixel edge to pixel
edge and so stay aligned: the image with smooth interpolation, the mask pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from wmh_runtime.figures.frame import Frame
from wmh_runtime.figures.page import GAP_PX, MARGIN_PX, PAGE_WIDTH_PX
from wmh_runtime.figures.window import Window

GAMMA = 1.2  # above 1: darker mid-grays, more contrast between lesions and white matter
MAX_CELL_HEIGHT_PX = 760
SMALL_AREA_PX = 60  # parts of a region below it are small: about 8 x 8 pixels
SMALL_DISTANCE_PX = 2  # between a small part and its outline
OUTLINE_COLOR = "#ff7a1a"  # orange: differs from gray for color-blind readers too


def draw_slice(
    intensities: NDArray[np.float32],
    mask: NDArray[np.bool_],
    window: Window,
    shape_px: tuple[int, int],
    regions: Sequence[tuple[NDArray[np.bool_], str]] = (),
) -> NDArray[np.uint8]:
    """Draw a slice with outlined lesions.

    Args:
        intensities: (rows, cols).
        mask: (rows, cols), lesions.
        window: intensities that are drawn black and white.
        shape_px: (height, width) of the picture; it sets the proportions.
        regions: (rows, cols) and a color, to outline below the lesions.

    Returns:
        (height, width, 3) RGB.
    """
    picture = draw_gray(intensities, window, shape_px)
    for region, color in regions:
        picture[outline(stretch_mask(region, shape_px))] = ImageColor.getrgb(color)
    picture[lesion_outline(stretch_mask(mask, shape_px))] = ImageColor.getrgb(OUTLINE_COLOR)
    return picture


def draw_gray(
    intensities: NDArray[np.float32], window: Window, shape_px: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw a slice (rows, cols) in gray; return (height, width, 3) RGB."""
    height, width = shape_px
    gray = Image.fromarray(gray_from_intensities(intensities, window))
    return np.array(gray.resize((width, height), Image.Resampling.BICUBIC).convert("RGB"))


def gray_from_intensities(intensities: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    """Return gray values from 0 to 255, same shape; NaN becomes black."""
    # In float64: the width of a window may be too small, or an intensity too large, for float32.
    width = max(window.high - window.low, np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):
        above_low = np.nan_to_num(intensities.astype(np.float64), nan=window.low) - window.low
        fraction = above_low / width
    gray: NDArray[np.uint8] = np.rint(255 * np.clip(fraction, 0.0, 1.0) ** GAMMA).astype(np.uint8)
    return gray


def stretch_mask(mask: NDArray[np.bool_], shape_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Scale a mask pixel by pixel. No mask pixel is lost, even if the mask becomes smaller.

    Args:
        mask: (rows, cols).
        shape_px: (height, width) of the result.

    Returns:
        (height, width). Each mask pixel covers the rectangle between its scaled edges, rounded to
        display pixels, but at least one display pixel.
    """
    rows = _coverage(mask.shape[0], shape_px[0])  # (height, rows)
    columns = _coverage(mask.shape[1], shape_px[1])  # (width, cols)
    stretched: NDArray[np.bool_] = (rows @ mask.astype(np.float32) @ columns.T) > 0
    return stretched


def _coverage(count: int, count_px: int) -> NDArray[np.float32]:
    """Return (count_px, count): 1 if the display pixel is in the mask pixel, along one axis."""
    edges = np.rint(np.arange(count + 1) * (count_px / count)).astype(int)
    starts = np.minimum(edges[:-1], count_px - 1)
    stops = np.maximum(edges[1:], starts + 1)
    indices = np.arange(count_px)[:, np.newaxis]
    covered: NDArray[np.bool_] = (starts <= indices) & (indices < stops)
    return covered.astype(np.float32)


def lesion_outline(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return an outline of one pixel around each part of a region, outside the region.

    Around small parts it keeps a distance. Directly beside them it would be all that one sees.

    Args:
        region: (height, width), at display size.
    """
    small = _small_parts(region)
    return outline((region & ~small) | _grow(small, SMALL_DISTANCE_PX)) & ~region


def _small_parts(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected parts of a region that are small on the page."""
    parts = cc3d.connected_components(region, connectivity=8)
    is_small = np.bincount(parts.reshape(-1)) < SMALL_AREA_PX
    is_small[0] = False  # the background
    return is_small[parts]


def outline(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels next to a region, by an edge or a corner, that are not in it."""
    return _grow(region, 1) & ~region


def _grow(region: NDArray[np.bool_], distance_px: int) -> NDArray[np.bool_]:
    """Return a region with all pixels at most so many rows and columns away."""
    for axis in (0, 1):
        margins = [(distance_px, distance_px) if axis == i else (0, 0) for i in (0, 1)]
        near = np.lib.stride_tricks.sliding_window_view(
            np.pad(region, margins), 2 * distance_px + 1, axis=axis
        )
        region = np.logical_or.reduce(near, axis=-1)
    return region


def cell_shape(frame: Frame, pixel_mm: tuple[float, float], columns: int) -> tuple[int, int]:
    """Return the largest (height, width) in pixels that fits and has the proportions in mm."""
    height_mm, width_mm = frame.shape[0] * pixel_mm[0], frame.shape[1] * pixel_mm[1]
    max_width = (PAGE_WIDTH_PX - 2 * MARGIN_PX + GAP_PX) // columns - GAP_PX
    px_per_mm = min(max_width / width_mm, MAX_CELL_HEIGHT_PX / height_mm)
    return max(1, round(height_mm * px_per_mm)), max(1, round(width_mm * px_per_mm))
