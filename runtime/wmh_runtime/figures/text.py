"""Draw text on pictures: one scalable font, text fitted to a width, no empty boxes.

Pillow's bundled font needs no installation and looks the same on every machine, but it has few
characters besides ASCII. Missing characters are replaced: "²" and "³" by small raised digits, "µ"
by "u", an accented letter by the letter without accent, and all others by "?".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import ImageDraw, ImageFont

REPLACEMENTS = {
    "\N{MICRO SIGN}": "u",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{LATIN SMALL LETTER SHARP S}": "ss",
}
SUPERSCRIPTS = {"²": "2", "³": "3"}
SUPERSCRIPT_SIZE = 0.65  # relative to the font size
UNKNOWN = "?"
ELLIPSIS = "…"
NO_CHARACTER = "\uffff"  # not a Unicode character: every font draws an empty box for it


@cache
def bundled_font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's bundled font in a size in pixels."""
    font = ImageFont.load_default(size=size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ImportError("this build of Pillow has no FreeType support; text needs it")
    return font


@cache
def has_glyph(character: str) -> bool:
    """Return whether the bundled font has a character, and does not draw an empty box for it."""
    font = bundled_font(20)
    glyph, box = font.getmask(character), font.getmask(NO_CHARACTER)
    return (glyph.size, bytes(glyph)) != (box.size, bytes(box))


def drawable(text: str) -> str:
    """Return the text on one line, with only characters that `draw_text` can draw."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(_drawable_character(character) for character in line)


def _drawable_character(character: str) -> str:
    if character in SUPERSCRIPTS or has_glyph(character):
        return character
    if character in REPLACEMENTS:
        return REPLACEMENTS[character]
    base = unicodedata.normalize("NFKD", character)[0]
    return base if has_glyph(base) else UNKNOWN


def draw_text(
    canvas: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size_px: int,
    color: str,
    *,
    edge: str | None = None,
) -> None:
    """Draw one line of text.

    Args:
        canvas: image to draw on.
        at: (x, y) of the left end of the baseline.
        text: any text; characters that the font lacks are replaced.
        size_px: font size.
        color: color of the letters.
        edge: color of a thin edge around the letters, for text on an image. None: no edge.
    """
    x, y = at
    for run, font, lift in _runs(drawable(text), size_px):
        canvas.text(
            (x, y - lift),
            run,
            fill=color,
            font=font,
            anchor="ls",
            stroke_width=0 if edge is None else 2,
            stroke_fill=edge,
        )
        x += font.getlength(run)


def text_width(text: str, size_px: int) -> float:
    """Return the width in pixels of a line of text that `draw_text` draws."""
    return sum(font.getlength(run) for run, font, _ in _runs(drawable(text), size_px))


def _runs(text: str, size_px: int) -> list[tuple[str, ImageFont.FreeTypeFont, float]]:
    """Return runs of equal font size: (text, font, height above the baseline in pixels)."""
    plain, raised = bundled_font(size_px), bundled_font(max(1, round(SUPERSCRIPT_SIZE * size_px)))
    lift = (1 - SUPERSCRIPT_SIZE) * size_px
    return [
        (SUPERSCRIPTS[run], raised, lift) if run in SUPERSCRIPTS else (run, plain, 0.0)
        for run in re.split("([²³])", text)
        if run
    ]


def shorten_middle(text: str, size_px: int, width_px: float) -> str:
    """Return the text; if it is too wide, replace its middle with an ellipsis.

    File names differ at both ends: the subject comes first, the series last.
    """
    text = drawable(text)
    if text_width(text, size_px) <= width_px:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :]
        shortened = head + ELLIPSIS + tail
        if text_width(shortened, size_px) <= width_px:
            return shortened
    return ELLIPSIS


def wrap_lines(pieces: Sequence[str], separator: str, size_px: int, width_px: float) -> list[str]:
    """Return lines with the pieces in order, joined by the separator, as many per line as fit."""
    lines: list[str] = []
    for piece in pieces:
        fitting = shorten_middle(piece, size_px, width_px)
        longer = separator.join([lines[-1], fitting]) if lines else fitting
        if lines and text_width(longer, size_px) <= width_px:
            lines[-1] = longer
        else:
            lines.append(fitting)
    return lines
