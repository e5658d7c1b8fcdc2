"""Error maps: slices with correct, missed and false lesion voxels in color.

There is one band per case, and one page with the worst cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from wmh_runtime.figures.page import (
    CONVENTION,
    FACT_COLOR,
    FACT_SIZE_PX,
    GAP_PX,
    LEGEND_SWATCH_PX,
    LETTER_EDGE_COLOR,
    LETTER_INSET_PX,
    LETTER_SIZE_PX,
    LINE_SPACING,
    MARGIN_PX,
    NOTE_COLOR,
    NOTE_SIZE_PX,
    PAGE_COLOR,
    PAGE_WIDTH_PX,
    TITLE_COLOR,
    stack_bands,
)
from wmh_runtime.figures.slice_overlay import cell_shape, gray_from_intensities, stretch_mask
from wmh_runtime.figures.slice_selection import Window, find_frame, find_window, select_slices
from wmh_runtime.figures.text import draw_text, shorten_middle, text_width
from wmh_runtime.types import Floats, Mask

# From the palette of Okabe and Ito (2008), safe for color-blind readers: lightness differs too.
FOUND_COLOR = "#56b4e9"
MISSED_COLOR = "#f0e442"
FALSE_COLOR = "#d55e00"

COLUMNS = 4
CASE_SIZE_PX = 24
_OPACITY = 0.75  # of the colors over the scan
_NO_SCAN = Window(-1.0, 2.0)  # without a scan: draws intensity 0 in dark gray


@dataclass(frozen=True, eq=False)
class CaseView:
    """A case to draw; arrays (n, rows, cols) in the same order as for `draw_quality_control`."""

    title: str
    caption: str
    prediction: Mask
    reference: Mask
    pixel_mm: tuple[float, float]  # height, width
    slices: Floats | None = None  # the scan, raw intensities
    head: Mask | None = None  # of the scan


def draw_case(case: CaseView) -> Image.Image:
    """Draw a band: a line of text, below it the slices with the most wrong voxels.

    Returns:
        RGB picture, `PAGE_WIDTH_PX` wide.
    """
    wrong = case.prediction ^ case.reference
    either = case.prediction | case.reference
    shown = next(part for part in (wrong, either, np.ones_like(wrong)) if part.any())
    selected = select_slices(shown, shown, COLUMNS)
    slices = case.slices if case.slices is not None else np.zeros(wrong.shape, np.float32)
    head = case.head if case.head is not None and case.head.any() else np.ones_like(wrong)
    window = _NO_SCAN if case.slices is None else find_window(slices, head)
    frame = find_frame(head[selected], either[selected])
    height, width = cell_shape(frame, case.pixel_mm, COLUMNS)
    top = round(LINE_SPACING * CASE_SIZE_PX)
    band = Image.new("RGB", (PAGE_WIDTH_PX, top + height), PAGE_COLOR)
    canvas = ImageDraw.Draw(band)
    max_width = PAGE_WIDTH_PX - 2 * MARGIN_PX - text_width(case.caption, FACT_SIZE_PX) - MARGIN_PX
    title = shorten_middle(case.title, CASE_SIZE_PX, max_width)
    draw_text(canvas, (MARGIN_PX, CASE_SIZE_PX), title, CASE_SIZE_PX, TITLE_COLOR)
    caption_x = MARGIN_PX + text_width(title, CASE_SIZE_PX) + MARGIN_PX
    draw_text(canvas, (caption_x, CASE_SIZE_PX), case.caption, FACT_SIZE_PX, FACT_COLOR)
    for column, index in enumerate(selected):
        cell = Image.fromarray(
            draw_errors(
                frame.crop(slices[index], fill=0.0 if case.slices is None else window.low),
                frame.crop(case.prediction[index], fill=False),
                frame.crop(case.reference[index], fill=False),
                window,
                (height, width),
            )
        )
        draw_text(
            ImageDraw.Draw(cell),
            (LETTER_INSET_PX, LETTER_INSET_PX + LETTER_SIZE_PX),
            str(index + 1),
            LETTER_SIZE_PX,
            FACT_COLOR,
            edge=LETTER_EDGE_COLOR,
        )
        band.paste(cell, (MARGIN_PX + column * (width + GAP_PX), top))
    return band


def draw_errors(
    intensities: Floats,
    prediction: Mask,
    reference: Mask,
    window: Window,
    shape_px: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw a slice with correct, missed and false voxels in color.

    Args:
        intensities: (rows, cols).
        prediction: (rows, cols).
        reference: (rows, cols).
        window: intensities that are drawn black and white.
        shape_px: (height, width) of the picture.

    Returns:
        (height, width, 3) RGB.
    """
    height, width = shape_px
    gray = Image.fromarray(gray_from_intensities(intensities, window))
    picture = np.array(gray.resize((width, height), Image.Resampling.BICUBIC).convert("RGB"))
    for voxels, color in (
        (prediction & reference, FOUND_COLOR),
        (prediction & ~reference, FALSE_COLOR),
        (reference & ~prediction, MISSED_COLOR),  # last, so that missed voxels are drawn on top
    ):
        region = stretch_mask(voxels, shape_px)
        mixed = _OPACITY * np.array(ImageColor.getrgb(color)) + (1 - _OPACITY) * picture[region]
        picture[region] = np.rint(mixed).astype(np.uint8)
    return picture


def error_page(title: str, bands: Sequence[Image.Image]) -> Image.Image:
    """Return a page: title and color legend, then the bands of the cases."""
    header = _header(title)
    footer = Image.new("RGB", (PAGE_WIDTH_PX, round(LINE_SPACING * NOTE_SIZE_PX)), PAGE_COLOR)
    note = f"The number is that of the slice, counted from 1 at the most inferior; {CONVENTION}"
    draw_text(ImageDraw.Draw(footer), (MARGIN_PX, NOTE_SIZE_PX), note, NOTE_SIZE_PX, NOTE_COLOR)
    return stack_bands([header, *bands, footer])


def _header(title: str) -> Image.Image:
    header = Image.new("RGB", (PAGE_WIDTH_PX, round(LINE_SPACING * FACT_SIZE_PX)), PAGE_COLOR)
    canvas = ImageDraw.Draw(header)
    draw_text(canvas, (MARGIN_PX, FACT_SIZE_PX), title, FACT_SIZE_PX, FACT_COLOR)
    x = PAGE_WIDTH_PX - MARGIN_PX
    for word, color in reversed(
        (("found", FOUND_COLOR), ("missed", MISSED_COLOR), ("false", FALSE_COLOR))
    ):
        x -= round(text_width(word, FACT_SIZE_PX))
        draw_text(canvas, (x, FACT_SIZE_PX), word, FACT_SIZE_PX, FACT_COLOR)
        x -= LEGEND_SWATCH_PX + LETTER_INSET_PX
        swatch = (x, FACT_SIZE_PX - LEGEND_SWATCH_PX, x + LEGEND_SWATCH_PX, FACT_SIZE_PX)
        canvas.rectangle(swatch, fill=color)
        x -= MARGIN_PX
    return header
