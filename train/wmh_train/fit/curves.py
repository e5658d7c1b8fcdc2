"""The plot of a training: losses on the left, validation scores on the right, over the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wmh_runtime.figures.plot_style import figure, png
from wmh_runtime.files.atomic import write_bytes_atomically

_WIDTH_INCHES, _HEIGHT_INCHES = 9.0, 3.6


@contextmanager
def curves(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the axes of losses and of scores, and write the plot at the end of the block.

    Args:
        path: PNG file to write.
    """
    with figure(_WIDTH_INCHES, _HEIGHT_INCHES) as drawing:
        losses, scores = drawing.subplots(1, 2)
        yield losses, scores
        write_bytes_atomically(path, png(drawing))


def format_axes(losses: Any, scores: Any, *, first: int, last: int, over: str = "epoch") -> None:
    """Set labels, limits and legends, after everything is drawn.

    Args:
        losses: axes of the training losses.
        scores: axes of the validation scores.
        first: first epoch.
        last: last epoch.
        over: label of the epochs.
    """
    losses.set(ylabel="training loss")
    scores.set(ylabel="validation Dice", ylim=(0, 1))
    for axes in (losses, scores):
        axes.set(xlabel=over, xlim=(first - 0.5, last + 0.5))  # a single epoch is visible, too
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.legend(frameon=False, fontsize="small")
