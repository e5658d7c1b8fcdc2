"""Text on pictures: one scalable font, text fitted to a width, nothing drawn as an empty box.

Pillow's bundled font needs no installation and looks the same everywhere, but it holds little
more than ASCII. What it lacks is spelled with what it has: raised small digits for "²" and "³",
"u" for "µ", the bare letter for an accented one, and "?" where nothing comes close.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import ImageDraw, ImageFont

SPELLINGS = {
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
RAISED = {"²": "2", "³": "3"}
RAISED_SIZE = 0.65  # of the size of the text around it
UNKNOWN = "?"
ELLIPSIS = "…"
NO_CHARACTER = "\uffff"  # not a character by definition: every font draws its empty box for it


@cache
def font_of(size_px: int) -> ImageFont.FreeTypeFont:
    """Pillow's bundled font at a size in pixels."""
    font = ImageFont.load_default(size=size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ImportError("this build of Pillow has no FreeType, which scalable text needs")
    return font


@cache
def has_glyph(character: str) -> bool:
    """Whether the bundled font draws a character as itself, not as its empty box."""
    font = font_of(20)
    glyph, box = font.getmask(character), font.getmask(NO_CHARACTER)
    return (glyph.size, bytes(glyph)) != (box.size, bytes(box))


def spelled(text: str) -> str:
    """One line of text of which every character can be drawn by `draw_text`."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(_spelled_character(character) for character in line)


def _spelled_character(character: str) -> str:
    if character in RAISED or has_glyph(character):
        return character
    if character in SPELLINGS:
        return SPELLINGS[character]
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
        canvas: what to draw on.
        at: (x, y) of the left end of the baseline.
        text: any text; it is spelled with the font's characters.
        size_px: size of the font.
        color: of the letters.
        edge: color of a thin edge around the letters, for text on an image; None for no edge.
    """
    x, y = at
    for run, font, lift in _runs(spelled(text), size_px):
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
    """Width in pixels of a line of text as `draw_text` draws it."""
    return sum(font.getlength(run) for run, font, _ in _runs(spelled(text), size_px))


def _runs(text: str, size_px: int) -> list[tuple[str, ImageFont.FreeTypeFont, float]]:
    """Stretches of one font size: (text, font, height above the baseline in pixels)."""
    plain, raised = font_of(size_px), font_of(max(1, round(RAISED_SIZE * size_px)))
    lift = (1 - RAISED_SIZE) * size_px
    return [
        (RAISED[run], raised, lift) if run in RAISED else (run, plain, 0.0)
        for run in re.split("([²³])", text)
        if run
    ]


def ellipsised(text: str, size_px: int, width_px: float) -> str:
    """The text, with its middle left out where it is wider than allowed.

    The middle goes because file names differ at both ends (subject first, series last).
    """
    text = spelled(text)
    if text_width(text, size_px) <= width_px:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head, tail = text[: (kept + 1) // 2], text[len(text) - kept // 2 :]
        shortened = head + ELLIPSIS + tail
        if text_width(shortened, size_px) <= width_px:
            return shortened
    return ELLIPSIS


def wrapped(pieces: Sequence[str], separator: str, size_px: int, width_px: float) -> list[str]:
    """Lines that hold the pieces in order, as many to a line as fit, joined by the separator."""
    lines: list[str] = []
    for piece in pieces:
        fitting = ellipsised(piece, size_px, width_px)
        longer = separator.join([lines[-1], fitting]) if lines else fitting
        if lines and text_width(longer, size_px) <= width_px:
            lines[-1] = longer
        else:
            lines.append(fitting)
    return lines
