"""The quality-control image of a scan: one page to check orientation, outlines and missed lesions.

A header has the results, a grid of slices from inferior to superior shows the outlined lesions, and
a footer explains how to read the image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wmh_runtime.dataset import bids
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
    TITLE_SIZE_PX,
    stack_bands,
)
from wmh_runtime.figures.slice_overlay import OUTLINE_COLOR, cell_shape, draw_slice
from wmh_runtime.figures.slice_selection import find_frame, find_window, select_slices
from wmh_runtime.figures.text import draw_text, shorten_middle, text_width, wrap_lines
from wmh_runtime.imageio.orientation import reorientation_to
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.postprocessing.postprocess import OutputResult
from wmh_runtime.preprocessing.head_mask import head_mask
from wmh_runtime.text import SHORT_INTENDED_USE

_PNG_LEVEL = 3  # as small as at 9 for these images, in an eighth of the time
WARNING_COLOR = "#ffc145"

MAX_COLUMNS = 6
MAX_ROWS = 4
FACT_SEPARATOR = " · "

NO_LESION = "none with lesions"


@dataclass(frozen=True)
class QcCaption:
    """What the header of the picture says.

    Attributes:
        title: the name of the scan.
        facts: short findings and settings, such as "12.34 mL" or "threshold 0.45".
        warnings: sentences about what to be careful with.
    """

    title: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def qc_image(scan: Scan, result: OutputResult, sidecar: Sidecar) -> bytes:
    """Draw the quality-control image of one output of a scan, PNG."""
    to_display = reorientation_to("axial", scan.affine)
    row_mm, column_mm = (scan.spacing_mm[axis] for axis in to_display.axes[1:])
    slices = np.ascontiguousarray(to_display.apply(scan.voxels))
    image = draw_quality_control(
        slices,
        head_mask(slices, scan.voxel_volume_mm3),
        to_display.apply(result.lesions.mask).astype(bool),
        (row_mm, column_mm),
        QcCaption(
            title=bids.nifti_stem(scan.path),
            facts=(
                f"{sidecar.volume_ml:.2f} mL",
                "1 lesion" if sidecar.lesion_count == 1 else f"{sidecar.lesion_count} lesions",
                f"threshold {result.output.threshold:g}",
                f"minimum {result.output.min_lesion_mm3:g} mm³",
                f"model {sidecar.settings.bundle}",
            ),
            warnings=tuple(sidecar.warnings),
        ),
    )
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=_PNG_LEVEL)
    return encoded.getvalue()


def draw_quality_control(
    slices: NDArray[np.float32],
    head: NDArray[np.bool_],
    masks: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    caption: QcCaption,
) -> Image.Image:
    """Draw the quality-control image of a scan.

    Args:
        slices: (n, rows, cols), raw intensities in display order: slice 0 is the most
            inferior, row 0 the most anterior, column 0 the patient's right.
        head: (n, rows, cols), the head; if it is empty, all slices are shown.
        masks: (n, rows, cols), lesion.
        pixel_mm: (height, width) of a pixel in mm.
        caption: what the header says.

    Returns:
        RGB picture, `PAGE_WIDTH_PX` wide and as high as its content. The same input gives the same
        picture.

    Raises:
        ValueError: the arrays are not a stack of slices with masks of the same shape, or a pixel
            has no size.
    """
    shapes = [slices.shape, head.shape, masks.shape]
    if slices.ndim != 3 or slices.size == 0 or len(set(shapes)) != 1:
        raise ValueError(f"expected three equal stacks, got {shapes}")
    if min(pixel_mm) <= 0:
        raise ValueError(f"expected a pixel size above 0 mm, got {pixel_mm}")
    head = head if head.any() else np.ones_like(head)
    picks = select_slices(head, masks, MAX_COLUMNS * MAX_ROWS)
    return stack_bands(
        [
            _header(caption, any_lesion=bool(masks.any())),
            _grid(slices[picks], masks[picks], head[picks], picks, pixel_mm),
            _footer(masks, picks),
        ]
    )


def _header(caption: QcCaption, *, any_lesion: bool) -> Image.Image:
    """Title with the legend beside it, then the facts, then the warnings."""
    width = PAGE_WIDTH_PX - 2 * MARGIN_PX
    legend = "lesion outline" if any_lesion else "no lesion to outline"
    legend_width = LEGEND_SWATCH_PX + LETTER_INSET_PX + text_width(legend, FACT_SIZE_PX)
    title = shorten_middle(caption.title, TITLE_SIZE_PX, width - legend_width - 2 * MARGIN_PX)
    facts = wrap_lines(caption.facts, FACT_SEPARATOR, FACT_SIZE_PX, width)
    warnings = [
        line
        for warning in caption.warnings
        for line in wrap_lines(f"Warning: {warning}".split(), " ", FACT_SIZE_PX, width)
    ]
    band = _lines(
        [(title, TITLE_SIZE_PX, TITLE_COLOR)]
        + [(line, FACT_SIZE_PX, FACT_COLOR) for line in facts]
        + [(line, FACT_SIZE_PX, WARNING_COLOR) for line in warnings]
    )
    canvas = ImageDraw.Draw(band)
    x, baseline = PAGE_WIDTH_PX - MARGIN_PX - legend_width, TITLE_SIZE_PX
    if any_lesion:
        swatch = (x, baseline - LEGEND_SWATCH_PX, x + LEGEND_SWATCH_PX, baseline)
        canvas.rectangle(swatch, outline=OUTLINE_COLOR, width=2)
    text_x = x + LEGEND_SWATCH_PX + LETTER_INSET_PX
    draw_text(canvas, (text_x, baseline), legend, FACT_SIZE_PX, FACT_COLOR)
    return band


def _footer(masks: NDArray[np.bool_], picks: Sequence[int]) -> Image.Image:
    """How much of the scan is shown, how to read it, what it is not for."""
    with_lesion = set(np.flatnonzero(np.count_nonzero(masks, axis=(1, 2))))
    total, shown = len(with_lesion), len(with_lesion & {*picks})
    notes = [
        f"{len(picks)} of {len(masks)} slices shown, counted from 1 at the most inferior",
        f"{total} with lesions (orange number), {shown} of them shown" if total else NO_LESION,
        CONVENTION,
    ]
    lines = wrap_lines(notes, FACT_SEPARATOR, NOTE_SIZE_PX, PAGE_WIDTH_PX - 2 * MARGIN_PX)
    return _lines([(line, NOTE_SIZE_PX, NOTE_COLOR) for line in [*lines, SHORT_INTENDED_USE]])


def _grid(
    slices: NDArray[np.float32],
    masks: NDArray[np.bool_],
    head: NDArray[np.bool_],
    picks: Sequence[int],
    pixel_mm: tuple[float, float],
) -> Image.Image:
    """The picked slices (n, rows, cols) in reading order, centered on the page."""
    rows = ceil(len(picks) / MAX_COLUMNS)
    columns = ceil(len(picks) / rows)
    frame, window = find_frame(head, masks), find_window(slices, head)
    height, width = cell_shape(frame, pixel_mm, columns)
    left = (PAGE_WIDTH_PX - columns * (width + GAP_PX) + GAP_PX) // 2
    grid = Image.new("RGB", (PAGE_WIDTH_PX, rows * (height + GAP_PX) - GAP_PX), PAGE_COLOR)
    for place, (index, intensities, mask) in enumerate(zip(picks, slices, masks, strict=True)):
        cell = Image.fromarray(
            draw_slice(
                frame.crop(intensities, fill=window.low),
                frame.crop(mask, fill=False),
                window,
                (height, width),
            )
        )
        _number_cell(cell, index, has_lesion=bool(mask.any()))
        if place == 0:
            _mark_directions(cell)
        row, column = divmod(place, columns)
        grid.paste(cell, (left + column * (width + GAP_PX), row * (height + GAP_PX)))
    return grid


def _number_cell(cell: Image.Image, index: int, *, has_lesion: bool) -> None:
    """Write the slice number, counted from 1, into a corner."""
    at = (LETTER_INSET_PX, LETTER_INSET_PX + LETTER_SIZE_PX)
    _letter(cell, at, str(index + 1), OUTLINE_COLOR if has_lesion else FACT_COLOR)


def _mark_directions(cell: Image.Image) -> None:
    """Write which side of the cell is the patient's right, left and front."""
    top = LETTER_INSET_PX + LETTER_SIZE_PX
    middle = (cell.height + LETTER_SIZE_PX) / 2
    right = cell.width - LETTER_INSET_PX - text_width("L", LETTER_SIZE_PX)
    _letter(cell, (LETTER_INSET_PX, middle), "R", FACT_COLOR)
    _letter(cell, (right, middle), "L", FACT_COLOR)
    _letter(cell, ((cell.width - text_width("A", LETTER_SIZE_PX)) / 2, top), "A", FACT_COLOR)


def _letter(cell: Image.Image, at: tuple[float, float], text: str, color: str) -> None:
    canvas = ImageDraw.Draw(cell)
    draw_text(canvas, at, text, LETTER_SIZE_PX, color, edge=LETTER_EDGE_COLOR)


def _lines(lines: Sequence[tuple[str, int, str]]) -> Image.Image:
    """A band of the page with lines of (text, size, color) from its left margin."""
    height = sum(round(LINE_SPACING * size) for _, size, _ in lines)
    band = Image.new("RGB", (PAGE_WIDTH_PX, height), PAGE_COLOR)
    canvas = ImageDraw.Draw(band)
    top = 0
    for text, size, color in lines:
        draw_text(canvas, (MARGIN_PX, top + size), text, size, color)
        top += round(LINE_SPACING * size)
    return band
