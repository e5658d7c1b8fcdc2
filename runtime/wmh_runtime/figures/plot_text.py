"""Text from outside, such as a site's name, for plots: drawn as it is, in one line, not too long.

Matplotlib reads `$…$` as a formula unless it is told not to, leaves a label out of the legend if it
begins with an underscore, and warns of characters that its font lacks.
"""

from __future__ import annotations

from functools import cache

from wmh_runtime.figures.text import ELLIPSIS, UNKNOWN

FONT = "DejaVu Sans"  # part of Matplotlib
_MAX_LENGTH = 40  # characters


def plot_text(text: str, max_length: int = _MAX_LENGTH) -> str:
    """Return text as one line that every plot can draw.

    Args:
        text: any text. Characters that the font lacks become "?".
        max_length: in characters, at least 3; the middle of a longer text becomes an ellipsis.

    Returns:
        At least one character.
    """
    line = "".join(c if _is_drawable(c) else UNKNOWN for c in " ".join(text.split())) or UNKNOWN
    if len(line) > max_length:
        head = max_length // 2
        line = line[:head] + ELLIPSIS + line[len(line) - (max_length - head - 1) :]
    return f" {line}" if line.startswith("_") else line


def _is_drawable(character: str) -> bool:
    return character.isprintable() and ord(character) in _characters_of_font()


@cache
def _characters_of_font() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
