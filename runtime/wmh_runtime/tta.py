"""Test-time augmentation: the eight symmetries of a square (dihedral group D4) and their inverses.

This is the only table of views. NumPy code uses it here, and export builds the graphs from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class View:
    """One symmetry: an optional transpose, then optional flips."""

    name: str
    transpose: bool
    flip_rows: bool
    flip_columns: bool

    @property
    def flipped_axes(self) -> tuple[int, ...]:
        """The axes that are flipped, counted from the end."""
        axes = {-2: self.flip_rows, -1: self.flip_columns}
        return tuple(axis for axis, is_flipped in axes.items() if is_flipped)

    def apply(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Transform slices (..., S, S) into this view."""
        transposed = np.swapaxes(slices, -2, -1) if self.transpose else slices
        return np.flip(transposed, self.flipped_axes)

    def undo(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Transform slices (..., S, S) of this view back."""
        flipped = np.flip(slices, self.flipped_axes)
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

Views = Literal[1, 8]  # number of views
VIEW_COUNTS: tuple[Views, ...] = (1, 8)

# full: eight views. none: one view. adaptive: eight views only for slices that may contain lesions.
Tta = Literal["full", "none", "adaptive"]


def first_views(tta: Tta) -> Views:
    """Return the number of views of the graph that executes every slice first."""
    return 8 if tta == "full" else 1
