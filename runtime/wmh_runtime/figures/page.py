"""Pages of pictures: colors and sizes, bands of text, legends. A page is a column of bands."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from wmh_runtime.figures.text import draw_text, text_width, wrap_lines

PAGE_COLOR = "#0f1115"
TITLE_COLOR = "#f4f5f7"
FACT_COLOR = "#c3c8d1"
NOTE_COLOR = "#8b919d"
LETTER_EDGE_COLOR = "#000000"

PAGE_WIDTH_PX = 1500
MARGIN_PX = 24
TEXT_WIDTH_PX = PAGE_WIDTH_PX - 2 * MARGIN_PX
GAP_PX = 6
LETTER_INSET_PX = 6
LEGEND_SWATCH_PX = 14

TITLE_SIZE_PX = 30
FACT_SIZE_PX = 20
NOTE_SIZE_PX = 16
LETTER_SIZE_PX = 17
_PNG_LEVEL = 3  # as small as at 9 for these images, in an eighth of the time
LINE_SPACING = 1.5  # distance between two lines of text, relative to the font size

WARNING_COLOR = "#ffc145"

CONVENTION = "patient's right (R) on the left, anterior (A) at the top"


@dataclass(frozen=True)
class Line:
    """A line of text on a page."""

    text: str
    size_px: int
    color: str


@dataclass(frozen=True)
class LegendEntry:
    """A color and its meaning."""

    text: str
    color: str
    is_filled: bool  # False: the color is that of an outline


def stack_bands(bands: Sequence[Image.Image]) -> Image.Image:
    """Return a page with the bands one below the other; each band is as wide as the page."""
    height = sum(band.height for band in bands) + MARGIN_PX * (len(bands) + 1)
    page = Image.new("RGB", (PAGE_WIDTH_PX, height), PAGE_COLOR)
    top = MARGIN_PX
    for band in bands:
        page.paste(band, (0, top))
        top += band.height + MARGIN_PX
    return page


def text_band(lines: Sequence[Line]) -> Image.Image:
    """Return a band with lines of text from its left margin; they must fit."""
    height = sum(round(LINE_SPACING * line.size_px) for line in lines)
    band = Image.new("RGB", (PAGE_WIDTH_PX, height), PAGE_COLOR)
    canvas, top = ImageDraw.Draw(band), 0
    for line in lines:
        draw_text(canvas, (MARGIN_PX, top + line.size_px), line.text, line.size_px, line.color)
        top += round(LINE_SPACING * line.size_px)
    return band


def encode_png(page: Image.Image) -> bytes:
    """Return a page as the content of a PNG file."""
    encoded = io.BytesIO()
    page.save(encoded, "PNG", compress_level=_PNG_LEVEL)
    return encoded.getvalue()


def wrapped_lines(
    parts: Sequence[str], color: str, size_px: int = FACT_SIZE_PX, separator: str = " "
) -> list[Line]:
    """Return lines that fit between the margins, broken between parts: words, or short facts."""
    lines = wrap_lines(parts, separator, size_px, TEXT_WIDTH_PX)
    return [Line(line, size_px, color) for line in lines]


def warning_lines(warnings: Sequence[str]) -> list[Line]:
    """Return the lines of warnings, each beginning with a new line."""
    return [
        line
        for warning in warnings
        for line in wrapped_lines(f"Warning: {warning}".split(), WARNING_COLOR)
    ]


def legend_width(entries: Sequence[LegendEntry]) -> float:
    """Return the width of a legend in pixels, with a margin on its left."""
    swatch_px = LEGEND_SWATCH_PX + LETTER_INSET_PX
    return sum(MARGIN_PX + swatch_px + text_width(one.text, FACT_SIZE_PX) for one in entries)


def draw_legend(band: Image.Image, entries: Sequence[LegendEntry], baseline: int) -> None:
    """Draw a legend at the right margin of a band, on the baseline of a line of text."""
    canvas, x = ImageDraw.Draw(band), PAGE_WIDTH_PX - MARGIN_PX - legend_width(entries)
    for entry in entries:
        x += MARGIN_PX
        swatch = (x, baseline - LEGEND_SWATCH_PX, x + LEGEND_SWATCH_PX, baseline)
        fill = entry.color if entry.is_filled else None
        canvas.rectangle(swatch, fill=fill, outline=entry.color, width=2)
        x += LEGEND_SWATCH_PX + LETTER_INSET_PX
        draw_text(canvas, (x, baseline), entry.text, FACT_SIZE_PX, FACT_COLOR)
        x += text_width(entry.text, FACT_SIZE_PX)
