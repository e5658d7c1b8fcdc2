"""The picture of an interval: the same slices of both visits side by side, in halfway space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from wmh_runtime.change.pair.interval import IntervalChange
from wmh_runtime.change.record import IntervalRecord
from wmh_runtime.change.rules import CLASSES, ChangeClass
from wmh_runtime.figures.cell import grid_band, mark_directions, numbered_cell
from wmh_runtime.figures.frame import Frame, find_frame
from wmh_runtime.figures.page import (
    CONVENTION,
    FACT_COLOR,
    FACT_SIZE_PX,
    LETTER_EDGE_COLOR,
    LETTER_INSET_PX,
    LETTER_SIZE_PX,
    NOTE_COLOR,
    NOTE_SIZE_PX,
    PAGE_COLOR,
    PAGE_WIDTH_PX,
    TEXT_WIDTH_PX,
    TITLE_COLOR,
    TITLE_SIZE_PX,
    LegendEntry,
    Line,
    draw_legend,
    encode_png,
    stack_bands,
    text_band,
    warning_lines,
    wrapped_lines,
)
from wmh_runtime.figures.slice_overlay import cell_shape, draw_gray, lesion_outline, stretch_mask
from wmh_runtime.figures.slice_selection import select_slices
from wmh_runtime.figures.text import draw_text, shorten_middle
from wmh_runtime.figures.window import Window, find_window
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.preprocessing.head_mask import otsu_threshold
from wmh_runtime.text import SHORT_INTENDED_USE
from wmh_runtime.types import Floats, Mask

# From the palette of Okabe and Ito (2008), safe for color-blind readers: lightness differs too.
CLASS_COLORS: dict[ChangeClass, str] = {
    "new": "#d55e00",
    "enlarging": "#f0e442",
    "shrinking": "#56b4e9",
    "resolved": "#009e73",
    "stable": "#e6e8ec",
}
_PAIRS_PER_ROW, _ROWS = 2, 4
_SEPARATOR = " · "


@dataclass(frozen=True, eq=False)
class _Stacks:
    """Both visits as slices (n, rows, cols), most inferior first."""

    images: tuple[Floats, Floats]
    windows: tuple[Window, Window]
    classes: tuple[NDArray[np.uint8], NDArray[np.uint8]]  # of the lesions of each visit
    frame: Frame
    shape_px: tuple[int, int]  # of a cell
    labels: tuple[str, str]

    def pair(self, index: int) -> list[Image.Image]:
        """Draw a slice of both visits."""
        return [self._cell(visit, index) for visit in (0, 1)]

    def _cell(self, visit: int, index: int) -> Image.Image:
        window = self.windows[visit]
        shown = self.frame.crop(self.images[visit][index], fill=window.low)
        picture = draw_gray(shown, window, self.shape_px)
        numbers = self.frame.crop(self.classes[visit][index], fill=0)
        for number, name in enumerate(CLASSES, start=1):
            outline = lesion_outline(stretch_mask(numbers == number, self.shape_px))
            picture[outline] = ImageColor.getrgb(CLASS_COLORS[name])
        cell = numbered_cell(picture, index)
        at = (LETTER_INSET_PX, cell.height - LETTER_INSET_PX)
        canvas = ImageDraw.Draw(cell)
        draw_text(
            canvas, at, self.labels[visit], LETTER_SIZE_PX, FACT_COLOR, edge=LETTER_EDGE_COLOR
        )
        return cell


def change_picture(interval: IntervalChange, record: IntervalRecord, subject: str) -> bytes:
    """Draw the picture of an interval, PNG.

    Slices with lesions that changed come first; without any, slices with lesions.

    Args:
        interval: what changed.
        record: of the same interval.
        subject: name in the title.
    """
    to_display = axial_reorientation(interval.affine)
    images = tuple(np.ascontiguousarray(to_display.apply(one)) for one in interval.images)
    class_map = to_display.apply(interval.matched.class_map())
    masks: list[Mask] = [to_display.apply(one) for one in interval.lesions]
    labels = to_display.apply(interval.matched.labels)
    has_changed = (class_map > 0) & (class_map != 1 + CLASSES.index("stable"))
    head = _head(images)
    shown = _select(head, labels, has_changed)
    frame = find_frame(head[shown], class_map[shown] > 0)
    pixel_mm = (interval.spacing_mm,) * 2
    stacks = _Stacks(
        images=(images[0], images[1]),
        windows=(find_window(images[0], head), find_window(images[1], head)),
        classes=(class_map * masks[0], class_map * masks[1]),
        frame=frame,
        shape_px=cell_shape(frame, pixel_mm, 2 * _PAIRS_PER_ROW),
        labels=(record.earlier, record.later),
    )
    cells = [cell for index in shown for cell in stacks.pair(index)]
    mark_directions(cells[0])
    bands = [
        _header(record, subject),
        _legend_band(record),
        grid_band(cells, min(2 * _PAIRS_PER_ROW, len(cells))),
        _footer(len(shown), len(head)),
    ]
    return encode_png(stack_bands(bands))


def _select(head: Mask, labels: NDArray[np.int32], has_changed: Mask) -> list[int]:
    """Select slices with lesions that changed, and others with lesions if there is room."""
    has_lesion: Mask = np.any(labels > 0, axis=(1, 2), keepdims=True)
    if has_lesion.any():
        head = head & has_lesion
    shown_best = labels * has_changed if has_changed.any() else labels
    return select_slices(head, shown_best, _PAIRS_PER_ROW * _ROWS)


def _head(images: Sequence[Floats]) -> Mask:
    """Return where one of both images is bright; everywhere if nothing is."""
    bright: Mask = np.zeros(images[0].shape, np.bool_)
    for image in images:
        bright |= image > otsu_threshold(image)
    return bright if bright.any() else ~bright


def _header(record: IntervalRecord, subject: str) -> Image.Image:
    title = f"{subject}: {record.earlier} and {record.later}"
    percent = "" if record.change_percent is None else f" ({record.change_percent:+.0f} %)"
    moved = record.registration
    facts = [
        f"change {record.change_ml:+.2f} mL{percent}, rescans differ by up to"
        f" {record.uncertainty_ml:.2f} mL",
        *([] if record.days is None else [f"{record.days} days"]),
        f"registered by {moved.mm:.1f} mm and {moved.degrees:.1f}°",
    ]
    return text_band(
        [
            Line(shorten_middle(title, TITLE_SIZE_PX, TEXT_WIDTH_PX), TITLE_SIZE_PX, TITLE_COLOR),
            *wrapped_lines(facts, FACT_COLOR, separator=_SEPARATOR),
            *warning_lines(record.warnings),
        ]
    )


def _legend_band(record: IntervalRecord) -> Image.Image:
    band = Image.new("RGB", (PAGE_WIDTH_PX, FACT_SIZE_PX + LETTER_INSET_PX), PAGE_COLOR)
    entries = [
        LegendEntry(f"{name} {record.classes[name].count}", CLASS_COLORS[name], is_filled=False)
        for name in CLASSES
    ]
    draw_legend(band, entries, FACT_SIZE_PX)
    return band


def _footer(shown: int, total: int) -> Image.Image:
    notes = [
        f"{shown} of {total} slices shown, in the halfway space, counted from the most inferior",
        "each visit has the outlines of its own lesions",
        CONVENTION,
    ]
    lines = wrapped_lines(notes, NOTE_COLOR, NOTE_SIZE_PX, _SEPARATOR)
    return text_band([*lines, Line(SHORT_INTENDED_USE, NOTE_SIZE_PX, NOTE_COLOR)])
