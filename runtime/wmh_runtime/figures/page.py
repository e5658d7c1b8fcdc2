"""Pages of pictures: common colors and sizes. A page is a column of bands."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

PAGE_COLOR = "#0f1115"
TITLE_COLOR = "#f4f5f7"
FACT_COLOR = "#c3c8d1"
NOTE_COLOR = "#8b919d"
LETTER_EDGE_COLOR = "#000000"

PAGE_WIDTH_PX = 1500
MARGIN_PX = 24
GAP_PX = 6
LETTER_INSET_PX = 6
LEGEND_SWATCH_PX = 14

TITLE_SIZE_PX = 30
FACT_SIZE_PX = 20
NOTE_SIZE_PX = 16
LETTER_SIZE_PX = 17
LINE_SPACING = 1.5  # distance between two lines of text, relative to the font size

CONVENTION = "patient's right (R) on the left, anterior (A) at the top"


def stack_bands(bands: Sequence[Image.Image]) -> Image.Image:
    """Return a page with the bands one below the other; each band is as wide as the page."""
    height = sum(band.height for band in bands) + MARGIN_PX * (len(bands) + 1)
    page = Image.new("RGB", (PAGE_WIDTH_PX, height), PAGE_COLOR)
    top = MARGIN_PX
    for band in bands:
        page.paste(band, (0, top))
        top += band.height + MARGIN_PX
    return page
