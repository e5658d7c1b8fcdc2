"""Error maps: slices with found, missed and false lesion voxels in color, beside the plain slice.

There is one band per case, and one page with the worst cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from wmh_runtime.figures.cell import grid_band, mark_directions, numbered_cell
from wmh_runtime.figures.frame import find_frame
from wmh_runtime.figures.page import (
    CONVENTION,
    FACT_COLOR,
    FACT_SIZE_PX,
    NOTE_COLOR,
    NOTE_SIZE_PX,
    PAGE_WIDTH_PX,
    TEXT_WIDTH_PX,
    TITLE_COLOR,
    LegendEntry,
    Line,
    draw_legend,
    legend_width,
    stack_bands,
    text_band,
    warning_lines,
    wrapped_lines,
)
from wmh_runtime.figures.slice_overlay import cell_shape, draw_gray, stretch_mask
from wmh_runtime.figures.slice_selection import slices_with_most_lesion
from wmh_runtime.figures.text import shorten_middle
from wmh_runtime.figures.window import Window, find_window
from wmh_runtime.text import SHORT_INTENDED_USE
from wmh_runtime.types import Floats, Mask

# From the palette of Okabe and Ito (2008), safe for color-blind readers: lightness differs too.
FOUND_COLOR = "#56b4e9"
MISSED_COLOR = "#f0e442"
FALSE_COLOR = "#d55e00"
LEGEND = (
    LegendEntry("found", FOUND_COLOR, is_filled=True),
    LegendEntry("missed", MISSED_COLOR, is_filled=True),
    LegendEntry("false", FALSE_COLOR, is_filled=True),
)

COLUMNS = 6
CASE_SIZE_PX = 24
OPACITY = 0.5  # of the colors over the scan
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
    """Draw a band: two lines of text, below them the slices with the most wrong voxels.

    With a scan, each slice is drawn twice, without and with colors.

    Returns:
        RGB picture, `PAGE_WIDTH_PX` wide.
    """
    wrong = case.prediction ^ case.reference
    either = case.prediction | case.reference
    shown = next(part for part in (wrong, either, np.ones_like(wrong)) if part.any())
    count = COLUMNS if case.slices is None else COLUMNS // 2
    slices = case.slices if case.slices is not None else np.zeros(wrong.shape, np.float32)
    head = case.head if case.head is not None and case.head.any() else np.ones_like(wrong)
    window = _NO_SCAN if case.slices is None else find_window(slices, head)
    selected = slices_with_most_lesion(shown, count)
    frame = find_frame(head[selected], either[selected])
    shape_px = cell_shape(frame, case.pixel_mm, COLUMNS)
    cells = []
    for index in selected:
        fill = 0.0 if case.slices is None else window.low
        gray = draw_gray(frame.crop(slices[index], fill=fill), window, shape_px)
        masks = (frame.crop(m[index], fill=False) for m in (case.prediction, case.reference))
        pictures = [] if case.slices is None else [gray]
        cells += [numbered_cell(one, index) for one in (*pictures, color_errors(gray, *masks))]
    mark_directions(cells[0])
    return _below(_case_text(case), grid_band(cells, COLUMNS))


def color_errors(gray: NDArray[np.uint8], prediction: Mask, reference: Mask) -> NDArray[np.uint8]:
    """Return a drawn slice with found, missed and false voxels in color.

    Args:
        gray: (height, width, 3) RGB.
        prediction: (rows, cols).
        reference: (rows, cols).
    """
    picture = gray.copy()
    for voxels, color in (
        (prediction & reference, FOUND_COLOR),
        (prediction & ~reference, FALSE_COLOR),
        (reference & ~prediction, MISSED_COLOR),  # last, so that missed voxels are drawn on top
    ):
        region = stretch_mask(voxels, gray.shape[:2])
        mixed = OPACITY * np.array(ImageColor.getrgb(color)) + (1 - OPACITY) * gray[region]
        picture[region] = np.rint(mixed).astype(np.uint8)
    return picture


def error_page(
    title: str, facts: Sequence[str], warnings: Sequence[str], bands: Sequence[Image.Image]
) -> Image.Image:
    """Return a page: title and color legend, what was compared, then the bands of the cases.

    Args:
        title: which cases are shown.
        facts: such as the model and the threshold, a line each.
        warnings: sentences about what to be careful with.
        bands: of the cases.
    """
    title = shorten_middle(title, FACT_SIZE_PX, TEXT_WIDTH_PX - legend_width(LEGEND))
    header = text_band(
        [
            Line(title, FACT_SIZE_PX, TITLE_COLOR),
            *(line for fact in facts for line in wrapped_lines(fact.split(), FACT_COLOR)),
            *warning_lines(warnings),
        ]
    )
    draw_legend(header, LEGEND, FACT_SIZE_PX)
    note = f"The number is that of the slice, counted from 1 at the most inferior; {CONVENTION}"
    notes = (note, SHORT_INTENDED_USE)
    footer = text_band([Line(text, NOTE_SIZE_PX, NOTE_COLOR) for text in notes])
    return stack_bands([header, *bands, footer])


def _case_text(case: CaseView) -> Image.Image:
    title = shorten_middle(case.title, CASE_SIZE_PX, TEXT_WIDTH_PX)
    title_line = Line(title, CASE_SIZE_PX, TITLE_COLOR)
    return text_band([title_line, *wrapped_lines(case.caption.split(), FACT_COLOR)])


def _below(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Return two bands as one, without a margin between them."""
    band = Image.new("RGB", (PAGE_WIDTH_PX, upper.height + lower.height))
    band.paste(upper, (0, 0))
    band.paste(lower, (0, upper.height))
    return band
