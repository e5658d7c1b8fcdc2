"""The look of plots: colors, marks and axes, on light paper or on dark."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Of the palette of Okabe and Ito (2008), told apart with every kind of color vision; its yellow
# is too light for white paper. Marks differ too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")


@dataclass(frozen=True)
class Theme:
    """Colors of what is not data."""

    paper: str
    ink: str
    line: str
    grid: str

    @property
    def colors(self) -> tuple[str, ...]:
        """Those of data; the ink is the last, as black is of the palette."""
        return (*COLORS, self.ink)


LIGHT = Theme(paper="#ffffff", ink="#3a3f47", line="#8b919d", grid="#eceef1")
DARK = Theme(paper="#0d1117", ink="#d7dce3", line="#7d8590", grid="#21262d")

_DPI = 150


@contextmanager
def figure(width_inches: float, height_inches: float, theme: Theme = LIGHT) -> Iterator[Any]:
    """Yield a new figure, in this project's style while the block lasts."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style(theme)):
        yield Figure((width_inches, height_inches), layout="constrained")


def png(drawn: Any) -> bytes:
    """Encode a figure."""
    encoded = io.BytesIO()
    drawn.savefig(encoded, format="png", dpi=_DPI)
    return encoded.getvalue()


def _style(theme: Theme) -> dict[str, Any]:
    return {
        "font.size": 11,
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
