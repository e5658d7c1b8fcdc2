"""Draw the quality-control page: one page to check orientation, outlines and missed lesions.

A header has the results. The slices with the most lesion are shown large, without and with outline,
and so are the same slices of further images, such as a T1, to check that they are in place. A grid
of slices from inferior to superior follows, and a footer explains how to read the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wmh_runtime.figures.cell import grid_band, mark_directions, numbered_cell
from wmh_runtime.figures.frame import Frame, find_frame
from wmh_runtime.figures.page import (
    CONVENTION,
    FACT_COLOR,
    NOTE_COLOR,
    NOTE_SIZE_PX,
    TEXT_WIDTH_PX,
    TITLE_COLOR,
    TITLE_SIZE_PX,
    LegendEntry,
    Line,
    draw_legend,
    legend_width,
    stack_bands,
    text_band,
    warning_lines,
    wrapped_lines,
)
from wmh_runtime.figures.slice_overlay import OUTLINE_COLOR, cell_shape, draw_slice
from wmh_runtime.figures.slice_selection import select_slices, slices_with_most_lesion
from wmh_runtime.figures.text import shorten_middle
from wmh_runtime.figures.window import Window, find_window
from wmh_runtime.postprocessing.lesions import label_components
from wmh_runtime.postprocessing.regions import BRAIN, POSTERIOR, VENTRICLES
from wmh_runtime.text import SHORT_INTENDED_USE

COLUMNS = 6
ROWS = 4
LARGE_SLICES = 2  # shown large, each without and with outline
FACT_SEPARATOR = " · "
NO_LESION = "none with lesions"

LESION_LEGEND = LegendEntry("lesion outline", OUTLINE_COLOR, is_filled=False)
OUTLINED_REGIONS = {
    BRAIN: "brain",
    VENTRICLES: "ventricles",
    POSTERIOR: "cerebellum and brain stem",
}  # with their words in the legend
# Blue, green and purple, in the order of the regions.
REGION_COLORS = ("#56b4e9", "#3fbf8f", "#cc79a7")


@dataclass(frozen=True)
class QcCaption:
    """What the header of the page says.

    Attributes:
        title: the name of the scan.
        facts: short findings and settings, such as "12.34 mL" or "threshold 0.45".
        warnings: sentences about what to be careful with.
    """

    title: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Stack:
    """Slices and masks (n, rows, cols), and how all of them are shown."""

    slices: NDArray[np.float32]
    masks: NDArray[np.bool_]
    window: Window
    frame: Frame
    pixel_mm: tuple[float, float]
    regions: Sequence[NDArray[np.bool_]]  # (n, rows, cols) each

    def cell(self, index: int, columns: int, *, outlined: bool = True) -> Image.Image:
        """Draw a slice in the width of a column; its number is orange if it has lesions."""
        mask = self.frame.crop(self.masks[index], fill=False)
        picture = draw_slice(
            self.frame.crop(self.slices[index], fill=self.window.low),
            mask & outlined,
            self.window,
            cell_shape(self.frame, self.pixel_mm, columns),
            [
                (self.frame.crop(region[index], fill=False) & outlined, color)
                for region, color in zip(self.regions, REGION_COLORS, strict=False)
            ],
        )
        return numbered_cell(picture, index, OUTLINE_COLOR if mask.any() else FACT_COLOR)


def draw_quality_control(
    slices: NDArray[np.float32],
    head: NDArray[np.bool_],
    masks: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    caption: QcCaption,
    regions: Mapping[str, NDArray[np.bool_]] | None = None,
    others: Mapping[str, NDArray[np.float32]] | None = None,
) -> Image.Image:
    """Draw the quality-control page of a scan.

    Args:
        slices: (n, rows, cols), raw intensities in display order: slice 0 is the most
            inferior, row 0 the most anterior, column 0 the patient's right.
        head: (n, rows, cols), the head; if it is empty, all slices are shown.
        masks: (n, rows, cols), lesion.
        pixel_mm: (height, width) of a pixel in mm.
        caption: what the header says.
        regions: (n, rows, cols), at most three, to outline besides the lesions; None: none.
        others: (n, rows, cols), further images of the head by their names; None: none.

    Returns:
        RGB picture, `PAGE_WIDTH_PX` wide and as high as its content. The same input gives the same
        picture.

    Raises:
        ValueError: the arrays are not a stack of slices with masks of the same shape, or a pixel
            has no size.
    """
    others = others or {}
    shapes = [one.shape for one in (slices, head, masks, *others.values())]
    if slices.ndim != 3 or slices.size == 0 or len(set(shapes)) != 1:
        raise ValueError(f"expected equal stacks, got {shapes}")
    if not min(pixel_mm) > 0:
        raise ValueError(f"expected a pixel size above 0 mm, got {pixel_mm}")
    head = head if head.any() else np.ones_like(head)
    lesions = label_components(masks)
    large = slices_with_most_lesion(masks, LARGE_SLICES)
    shown = select_slices(head, lesions, COLUMNS * ROWS)
    enlarged = large or (_inner(shown) if others else [])
    frame = find_frame(head[shown + large], masks[shown + large])
    regions = regions or {}
    window = find_window(slices, head)
    stack = _Stack(slices, masks, window, frame, pixel_mm, list(regions.values()))
    legend = [LESION_LEGEND] if large else []
    legend += [
        LegendEntry(name, color, is_filled=False)
        for name, color in zip(regions, REGION_COLORS, strict=False)
    ]
    bands = [_header(caption, legend)]
    if enlarged:
        bands.append(_large_slices(stack, enlarged))
    for name, image in others.items():
        other = replace(stack, slices=image, window=find_window(image, head))
        title = shorten_middle(name, TITLE_SIZE_PX, TEXT_WIDTH_PX)
        bands.append(text_band([Line(title, TITLE_SIZE_PX, FACT_COLOR)]))
        bands.append(_large_slices(other, enlarged))
    return stack_bands([*bands, _grid(stack, shown), _footer(masks, shown)])


def _header(caption: QcCaption, legend: Sequence[LegendEntry]) -> Image.Image:
    """Title with the legend beside it, then the facts, then the warnings."""
    title_width = TEXT_WIDTH_PX - legend_width(legend)
    title = shorten_middle(caption.title, TITLE_SIZE_PX, title_width)
    band = text_band(
        [
            Line(title, TITLE_SIZE_PX, TITLE_COLOR),
            *wrapped_lines(caption.facts, FACT_COLOR, separator=FACT_SEPARATOR),
            *warning_lines(caption.warnings),
        ]
    )
    draw_legend(band, legend, TITLE_SIZE_PX)
    return band


def _inner(shown: Sequence[int]) -> list[int]:
    """Return two slices from the middle of those that are shown, or the only one."""
    return sorted({shown[len(shown) // 3], shown[2 * len(shown) // 3]})


def _large_slices(stack: _Stack, indices: Sequence[int]) -> Image.Image:
    """Draw each slice twice, without and with outline."""
    columns = 2 * LARGE_SLICES
    cells = [
        stack.cell(index, columns, outlined=outlined)
        for index in indices
        for outlined in (False, True)
    ]
    mark_directions(cells[0])
    return grid_band(cells, len(cells))


def _grid(stack: _Stack, indices: Sequence[int]) -> Image.Image:
    rows = ceil(len(indices) / COLUMNS)
    columns = ceil(len(indices) / rows)
    cells = [stack.cell(index, columns) for index in indices]
    mark_directions(cells[0])
    return grid_band(cells, columns)


def _footer(masks: NDArray[np.bool_], shown: Sequence[int]) -> Image.Image:
    """How much of the scan is shown, how to read it, what it is not for."""
    has_lesion = np.count_nonzero(masks, axis=(1, 2)) > 0
    total, with_outline = int(has_lesion.sum()), int(has_lesion[[*shown]].sum())
    about_lesions = [
        f"{total} with lesions (orange number), {with_outline} of them shown",
        "large: the slices with the most lesion, without and with outline",
    ]
    notes = [
        f"{len(shown)} of {len(masks)} slices shown, counted from 1 at the most inferior",
        *(about_lesions if total else [NO_LESION]),
        CONVENTION,
    ]
    lines = wrapped_lines(notes, NOTE_COLOR, NOTE_SIZE_PX, FACT_SEPARATOR)
    return text_band([*lines, Line(SHORT_INTENDED_USE, NOTE_SIZE_PX, NOTE_COLOR)])
