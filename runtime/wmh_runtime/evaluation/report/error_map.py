"""Where masks err: slices with what was found, what was missed and what is false, in color.

One band a case, one page for the cases that a reader should look at first.
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
    stacked,
)
from wmh_runtime.figures.slice_overlay import cell_shape, grey_from_intensities, stretch_mask
from wmh_runtime.figures.slice_selection import Window, find_frame, find_window, pick_slices
from wmh_runtime.figures.text import draw_text, ellipsised, text_width
from wmh_runtime.types import Floats, Mask

# Of the palette of Okabe and Ito (2008): they differ in lightness too, for every color vision.
FOUND_COLOR = "#56b4e9"
MISSED_COLOR = "#f0e442"
FALSE_COLOR = "#d55e00"

COLUMNS = 4
CASE_SIZE_PX = 24
_OPACITY = 0.75  # the scan shines through
_NO_SCAN = Window(-1.0, 2.0)  # draws 0, the empty grid, dark grey


@dataclass(frozen=True, eq=False)
class CaseView:
    """One case as it is drawn; arrays (n, rows, cols), ordered as for `draw_quality_control`."""

    title: str
    facts: str
    prediction: Mask
    reference: Mask
    pixel_mm: tuple[float, float]  # height, width
    slices: Floats | None = None  # the scan, raw intensities
    head: Mask | None = None  # of the scan


def draw_case(case: CaseView) -> Image.Image:
    """Draw a band: a line of text, below it the slices with the most voxels in error.

    Returns:
        RGB picture, `PAGE_WIDTH_PX` wide.
    """
    wrong = case.prediction ^ case.reference
    either = case.prediction | case.reference
    shown = next(part for part in (wrong, either, np.ones_like(wrong)) if part.any())
    picks = pick_slices(shown, shown, COLUMNS)
    slices = case.slices if case.slices is not None else np.zeros(wrong.shape, np.float32)
    head = case.head if case.head is not None and case.head.any() else np.ones_like(wrong)
    window = _NO_SCAN if case.slices is None else find_window(slices, head)
    frame = find_frame(head[picks], either[picks])
    height, width = cell_shape(frame, case.pixel_mm, COLUMNS)
    top = round(LINE_SPACING * CASE_SIZE_PX)
    band = Image.new("RGB", (PAGE_WIDTH_PX, top + height), PAGE_COLOR)
    canvas = ImageDraw.Draw(band)
    room = PAGE_WIDTH_PX - 2 * MARGIN_PX - text_width(case.facts, FACT_SIZE_PX) - MARGIN_PX
    title = ellipsised(case.title, CASE_SIZE_PX, room)
    draw_text(canvas, (MARGIN_PX, CASE_SIZE_PX), title, CASE_SIZE_PX, TITLE_COLOR)
    facts_x = MARGIN_PX + text_width(title, CASE_SIZE_PX) + MARGIN_PX
    draw_text(canvas, (facts_x, CASE_SIZE_PX), case.facts, FACT_SIZE_PX, FACT_COLOR)
    for place, index in enumerate(picks):
        cell = Image.fromarray(
            draw_errors(
                frame.cut(slices[index], fill=0.0 if case.slices is None else window.low),
                frame.cut(case.prediction[index], fill=False),
                frame.cut(case.reference[index], fill=False),
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
        band.paste(cell, (MARGIN_PX + place * (width + GAP_PX), top))
    return band


def draw_errors(
    intensities: Floats,
    prediction: Mask,
    reference: Mask,
    window: Window,
    shape_px: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw a slice with its voxels in the colors of what became of them.

    Args:
        intensities: (rows, cols).
        prediction: (rows, cols).
        reference: (rows, cols).
        window: intensities drawn black and white.
        shape_px: (height, width) of the picture.

    Returns:
        (height, width, 3) RGB.
    """
    height, width = shape_px
    grey = Image.fromarray(grey_from_intensities(intensities, window))
    picture = np.array(grey.resize((width, height), Image.Resampling.BICUBIC).convert("RGB"))
    for voxels, color in (
        (prediction & reference, FOUND_COLOR),
        (prediction & ~reference, FALSE_COLOR),
        (reference & ~prediction, MISSED_COLOR),  # last: where pixels meet, a miss is seen
    ):
        where = stretch_mask(voxels, shape_px)
        mixed = _OPACITY * np.array(ImageColor.getrgb(color)) + (1 - _OPACITY) * picture[where]
        picture[where] = np.rint(mixed).astype(np.uint8)
    return picture


def error_page(title: str, bands: Sequence[Image.Image]) -> Image.Image:
    """Put bands of cases on one page, below a title and the legend of colors."""
    header = _header(title)
    footer = Image.new("RGB", (PAGE_WIDTH_PX, round(LINE_SPACING * NOTE_SIZE_PX)), PAGE_COLOR)
    note = f"The number is that of the slice, counted from 1 at the most inferior; {CONVENTION}"
    draw_text(ImageDraw.Draw(footer), (MARGIN_PX, NOTE_SIZE_PX), note, NOTE_SIZE_PX, NOTE_COLOR)
    return stacked([header, *bands, footer])


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
