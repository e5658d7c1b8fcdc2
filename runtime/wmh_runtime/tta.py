"""The eight symmetries of a square (the dihedral group D4): every view and its exact inverse.

This is the one table of views: numpy applies it here, and the exported graph is built from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class View:
    """One symmetry: first transpose, if at all, then flip."""

    name: str
    transpose: bool
    flip_rows: bool
    flip_columns: bool

    @property
    def flipped_axes(self) -> tuple[int, ...]:
        """The axes that are flipped, counted from the end."""
        return (-2,) * self.flip_rows + (-1,) * self.flip_columns

    def apply(self, squares: NDArray[Any]) -> NDArray[Any]:
        """Look at squares (..., S, S) this way."""
        turned = np.swapaxes(squares, -2, -1) if self.transpose else squares
        return np.flip(turned, self.flipped_axes)

    def undo(self, squares: NDArray[Any]) -> NDArray[Any]:
        """Bring what was seen this way, (..., S, S), back."""
        flipped = np.flip(squares, self.flipped_axes)
        return np.swapaxes(flipped, -2, -1) if self.transpose else flipped


VIEWS: tuple[View, ...] = (
    View("identity", transpose=False, flip_rows=False, flip_columns=False),
    View("flip rows", transpose=False, flip_rows=True, flip_columns=False),
    View("flip columns", transpose=False, flip_rows=False, flip_columns=True),
    View("rotate 180°", transpose=False, flip_rows=True, flip_columns=True),
    View("transpose", transpose=True, flip_rows=False, flip_columns=False),
    View("rotate 90°", transpose=True, flip_rows=True, flip_columns=False),
    View("rotate 270°", transpose=True, flip_rows=False, flip_columns=True),
    View("antitranspose", transpose=True, flip_rows=True, flip_columns=True),
)


Views = Literal[1, 8]


Tta = Literal["full", "none", "adaptive"]  # eight views of a slice, one, or as many as it needs


ALL_VIEWS: tuple[Views, ...] = (1, 8)


def first_views(tta: Tta) -> Views:
    """Return how many views a graph averages that every slice is executed with first."""
    return 8 if tta == "full" else 1
