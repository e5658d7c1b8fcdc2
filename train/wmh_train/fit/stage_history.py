"""The history of all stages of a training: one table and one plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmh_runtime.files.tables import read_table, write_table_atomically
from wmh_train.checkpoint import StageProvenance
from wmh_train.fit.curves import curves, format_axes
from wmh_train.fit.history import HISTORY_NAME, PLOT_NAME


def write_stage_history(
    out: Path, stages: Sequence[StageProvenance], folders: Sequence[Path]
) -> None:
    """Join the tables of the stages into one with a column `stage`, and draw it.

    Args:
        out: folder for the table and the plot.
        stages: the finished stages.
        folders: of the same stages, each with its table.
    """
    tables = [read_table(folder / HISTORY_NAME) for folder in folders]
    columns = dict.fromkeys(column for table in tables for row in table for column in row)
    rows = [
        {"stage": stage.name, **{column: row.get(column, "") for column in columns}}
        for stage, table in zip(stages, tables, strict=True)
        for row in table
    ]
    write_table_atomically(out / HISTORY_NAME, rows)
    with curves(out / PLOT_NAME) as (losses, scores):
        draw_stages(stages, tables, losses, scores)


def draw_stages(
    stages: Sequence[StageProvenance],
    tables: Sequence[Sequence[Mapping[str, str]]],
    losses: Any,
    scores: Any,
) -> None:
    """Draw the stages after each other, each with its best epoch: the one of its checkpoint.

    Args:
        stages: the finished stages.
        tables: their histories, a row per epoch.
        losses: axes of the training losses.
        scores: axes of the validation Dice.
    """
    before = 0
    for stage, table in zip(stages, tables, strict=True):
        epochs = [before + int(row["epoch"]) for row in table]
        losses.plot(
            epochs, [float(row["loss_total"]) for row in table], marker=".", label=stage.name
        )
        dice = {int(row["epoch"]): float(row["validation_dice"]) for row in table}
        label = f"{stage.name}: best epoch {stage.epoch}, Dice {dice[stage.epoch]:.3f}"
        scores.plot(epochs, list(dice.values()), marker=".", label=label)
        before = epochs[-1]
        for axes in (losses, scores):
            axes.axvline(before + 0.5, color="gray", linewidth=0.5)
    format_axes(losses, scores, first=1, last=before, over="epoch, all stages")
