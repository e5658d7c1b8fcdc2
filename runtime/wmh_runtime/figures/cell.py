"""Cells of a page: drawn slices with their number and the sides of the patient, in a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wmh_runtime.figures.page import (
    FACT_COLOR,
    GAP_PX,
    LETTER_EDGE_COLOR,
    LETTER_INSET_PX,
    LETTER_SIZE_PX,
    PAGE_COLOR,
    PAGE_WIDTH_PX,
)
from wmh_runtime.figures.text import draw_text, text_width


def numbered_cell(picture: NDArray[np.uint8], index: int, color: str = FACT_COLOR) -> Image.Image:
    """Return a drawn slice (height, width, 3) with its number, counted from 1, in a corner."""
    cell = Image.fromarray(picture)
    _letter(cell, (LETTER_INSET_PX, LETTER_INSET_PX + LETTER_SIZE_PX), str(index + 1), color)
    return cell


def mark_directions(cell: Image.Image) -> None:
    """Write which side of the cell is the patient's right, left and front."""
    top = LETTER_INSET_PX + LETTER_SIZE_PX
    middle = (cell.height + LETTER_SIZE_PX) / 2
    right = cell.width - LETTER_INSET_PX - text_width("L", LETTER_SIZE_PX)
    _letter(cell, (LETTER_INSET_PX, middle), "R", FACT_COLOR)
    _letter(cell, (right, middle), "L", FACT_COLOR)
    _letter(cell, ((cell.width - text_width("A", LETTER_SIZE_PX)) / 2, top), "A", FACT_COLOR)


def grid_band(cells: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return a band with cells of one size in reading order, centered on the page."""
    width, height = cells[0].size
    rows = -(-len(cells) // columns)
    left = (PAGE_WIDTH_PX - columns * (width + GAP_PX) + GAP_PX) // 2
    band = Image.new("RGB", (PAGE_WIDTH_PX, rows * (height + GAP_PX) - GAP_PX), PAGE_COLOR)
    for place, cell in enumerate(cells):
        row, column = divmod(place, columns)
        band.paste(cell, (left + column * (width + GAP_PX), row * (height + GAP_PX)))
    return band


def _letter(cell: Image.Image, at: tuple[float, float], text: str, color: str) -> None:
    canvas = ImageDraw.Draw(cell)
    draw_text(canvas, at, text, LETTER_SIZE_PX, color, edge=LETTER_EDGE_COLOR)
