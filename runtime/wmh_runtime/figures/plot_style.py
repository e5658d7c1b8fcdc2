"""Style of plots: colors, markers and axes, on a light or a dark background."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wmh_runtime.figures.plot_text import FONT

# From the palette of Okabe and Ito (2008), which is safe for color-blind readers. Its yellow is too
# light for a white background. Each color has its own marker.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")


@dataclass(frozen=True)
class Theme:
    """Colors of everything except the data."""

    paper: str
    ink: str
    line: str
    grid: str

    @property
    def colors(self) -> tuple[str, ...]:
        """Colors of the data; the last one is the text color, in place of the palette's black."""
        return (*COLORS, self.ink)


LIGHT = Theme(paper="#ffffff", ink="#3a3f47", line="#8b919d", grid="#eceef1")
DARK = Theme(paper="#0d1117", ink="#d7dce3", line="#7d8590", grid="#21262d")

_DPI = 150


@contextmanager
def figure(width_inches: float, height_inches: float, theme: Theme = LIGHT) -> Iterator[Any]:
    """Yield a new figure. Inside the block, the style of this project is active."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style(theme)):
        yield Figure((width_inches, height_inches), layout="constrained")


def png(figure: Any) -> bytes:
    """Encode a figure as PNG."""
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=_DPI)
    return encoded.getvalue()


def _style(theme: Theme) -> dict[str, Any]:
    return {
        "font.family": FONT,
        "font.size": 11,
        "text.parse_math": False,  # a dollar sign in a name is a dollar sign
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "axes.edgecolor": theme.line,
        "axes.facecolor": theme.paper,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": theme.grid,
        "legend.labelcolor": theme.ink,
    }
