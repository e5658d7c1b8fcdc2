"""The history of all stages of a training: one table and one plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmh_runtime.figures.plot_style import figure, png
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.files.tables import read_table, write_table_atomically
from wmh_train.loop.history import HISTORY_NAME, PLOT_NAME

_WIDTH_INCHES, _HEIGHT_INCHES = 9.0, 3.6


def write_stage_history(out: Path, names: Sequence[str], folders: Sequence[Path]) -> None:
    """Join the tables of the stages into one with a column `stage`, and draw it.

    Args:
        out: folder for the table and the plot.
        names: of the finished stages.
        folders: of the same stages, each with its table.
    """
    tables = [read_table(folder / HISTORY_NAME) for folder in folders]
    columns = dict.fromkeys(column for table in tables for row in table for column in row)
    rows = [
        {"stage": name, **{column: row.get(column, "") for column in columns}}
        for name, table in zip(names, tables, strict=True)
        for row in table
    ]
    write_table_atomically(out / HISTORY_NAME, rows)
    with figure(_WIDTH_INCHES, _HEIGHT_INCHES) as drawing:
        _draw(names, tables, *drawing.subplots(1, 2))
        write_bytes_atomically(out / PLOT_NAME, png(drawing))


def _draw(names: Sequence[str], tables: Sequence[Any], losses: Any, scores: Any) -> None:
    before = 0
    for name, table in zip(names, tables, strict=True):
        epochs = [before + int(row["epoch"]) for row in table]
        losses.plot(epochs, [float(row["loss_total"]) for row in table], marker=".", label=name)
        dice = [float(row["validation_dice"]) for row in table]
        best = max(range(len(dice)), key=dice.__getitem__)
        label = f"{name}: best {dice[best]:.3f}, epoch {table[best]['epoch']}"
        scores.plot(epochs, dice, marker=".", label=label)
        before = epochs[-1]
        for axes in (losses, scores):
            axes.axvline(before + 0.5, color="gray", linewidth=0.5)
    losses.set(xlabel="epoch, all stages", ylabel="training loss")
    scores.set(xlabel="epoch, all stages", ylabel="validation Dice", ylim=(0, 1))
    for axes in (losses, scores):
        axes.set_xlim(0.5, before + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.legend(frameon=False, fontsize="small")
