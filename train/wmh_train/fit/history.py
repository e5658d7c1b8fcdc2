"""The history of a training: a table, a plot, and TensorBoard events."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from wmh_runtime.figures.plot_text import plot_text
from wmh_runtime.files.tables import write_table_atomically
from wmh_train.fit.curves import curves, format_axes
from wmh_train.loop.resume import TrainingState
from wmh_train.loop.training_loop import EpochReport, LoopListener, StepReport

HISTORY_NAME = "history.csv"
PLOT_NAME = "curves.png"
TENSORBOARD_NAME = "tensorboard"
_PLOT_EVERY_S = 5.0  # drawing takes longer than a short epoch


class HistoryWriter(LoopListener):
    """Writes the history of a training to its output folder.

    Args:
        folder: output folder of the training.
        steps_done: steps that a resumed training has done; later TensorBoard events are dropped.
        state: state of the training with its history.
        enabled: False: write nothing. Only the main process writes.
    """

    def __init__(
        self, folder: Path, steps_done: int, state: TrainingState, *, enabled: bool
    ) -> None:
        self._folder = folder
        self._state = state
        self._steps_done = steps_done
        self._events: SummaryWriter | None = None
        self._drawn_at_s = time.monotonic()
        # A training that was killed may have ended before the plot was drawn.
        self._is_plot_outdated = enabled and bool(state.history)
        if enabled:
            events = str(folder / TENSORBOARD_NAME)
            self._events = SummaryWriter(events, purge_step=steps_done + 1)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, error: object, *_: object) -> None:
        """Write buffered events and close the file, and update the plot."""
        if self._events is not None:
            self._events.close()
        if self._is_plot_outdated:
            # What stopped the training is reported, not a plot that cannot be drawn besides.
            with suppress(Exception) if error else nullcontext():
                self._draw()

    def step(self, report: StepReport) -> None:
        """Write losses and learning rate of a step."""
        assert self._events is not None
        self._steps_done = report.step
        for part, value in report.losses.items():
            self._events.add_scalar(f"loss/{part}", value, report.step)
        self._events.add_scalar("learning_rate", report.learning_rate, report.step)

    def epoch(self, report: EpochReport) -> None:
        """Write the validation of an epoch, and update the table; the plot every few seconds."""
        assert self._events is not None
        self._events.add_scalar("validation/dice", report.validation.mean, self._steps_done)
        for site, value in report.validation.by_site.items():
            self._events.add_scalar(f"validation/dice {site or 'all'}", value, self._steps_done)
        self._events.flush()
        history = self._state.history
        rows = [_row(entry, sites_of(history)) for entry in history]
        write_table_atomically(self._folder / HISTORY_NAME, rows)
        self._is_plot_outdated = True
        if time.monotonic() - self._drawn_at_s >= _PLOT_EVERY_S:
            self._draw()

    def _draw(self) -> None:
        plot_history(self._state.history, self._folder / PLOT_NAME)
        self._drawn_at_s, self._is_plot_outdated = time.monotonic(), False


def sites_of(history: list[dict[str, Any]]) -> list[str]:
    """Return the sites of all epochs; a state of an older version may have others."""
    return list(dict.fromkeys(site for row in history for site in row["validation"]["by_site"]))


def _row(epoch: dict[str, Any], sites: Sequence[str]) -> dict[str, object]:
    iou = epoch["validation"].get("iou")  # an older state that is resumed has none
    by_site = epoch["validation"]["by_site"]
    return {
        "epoch": epoch["epoch"],
        "learning_rate": f"{epoch['learning_rate']:.3g}",
        **{f"loss_{part}": f"{value:.5f}" for part, value in epoch["losses"].items()},
        "validation_dice": f"{epoch['validation']['mean']:.4f}",
        "validation_iou": "" if iou is None else f"{iou:.4f}",
        **{
            f"validation_dice_{site or 'all'}": f"{by_site[site]:.4f}" if site in by_site else ""
            for site in sites
        },
        "minutes": f"{epoch['seconds'] / 60:.1f}",
    }


def plot_history(history: list[dict[str, Any]], path: Path) -> None:
    """Plot losses and validation Dice over the epochs.

    Args:
        history: one entry per epoch, as in `TrainingState`.
        path: PNG file to write.
    """
    with curves(path) as (losses, scores):
        draw_history(history, losses, scores)


def draw_history(history: list[dict[str, Any]], losses: Any, scores: Any) -> None:
    """Draw a history, and mark the best epoch: the one of the checkpoint, by `select_by`.

    Args:
        history: one entry per epoch, as in `TrainingState`.
        losses: axes of the training losses, by part.
        scores: axes of the validation Dice, by site.
    """
    epochs = [row["epoch"] for row in history]
    for part in history[0]["losses"]:
        values = [row["losses"][part] for row in history]
        if any(values):
            losses.plot(
                epochs, values, marker=".", linewidth=2 if part == "total" else 1, label=part
            )
    sites = sites_of(history)
    if len(sites) > 1:
        for site in sites:
            values = [row["validation"]["by_site"].get(site, math.nan) for row in history]
            scores.plot(epochs, values, marker=".", linewidth=1, label=plot_text(site))
    means = [row["validation"]["mean"] for row in history]
    scores.plot(epochs, means, marker=".", linewidth=2, color="black", label="all scans")
    best = [row for row in history if row["is_best"]][-1]
    dice = best["validation"]["mean"]
    scores.plot(
        best["epoch"],
        dice,
        "o",
        color="black",
        fillstyle="none",
        markersize=10,
        label=f"best: epoch {best['epoch']}, Dice {dice:.3f}",
    )
    format_axes(losses, scores, first=min(epochs), last=max(epochs))
