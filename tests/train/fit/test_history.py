"""The table and the plot of a training, and of its stages."""

import io

import pytest
from PIL import Image

from wmh_runtime.figures.plot_style import figure
from wmh_runtime.files.tables import read_table
from wmh_train.checkpoint import StageProvenance, ValidationDice
from wmh_train.fit import history
from wmh_train.fit.history import HistoryWriter, draw_history, plot_history
from wmh_train.fit.stage_history import draw_stages, write_stage_history
from wmh_train.loop.resume import TrainingState
from wmh_train.loop.training_loop import EpochReport


def epoch(number, dice, iou, *, is_best, by_site=None):
    return {
        "epoch": number,
        "learning_rate": 1e-3,
        "losses": {"total": 1 / number, "dice": 0.0},
        "validation": {"mean": dice, "by_site": by_site or {"": dice}, "iou": iou},
        "is_best": is_best,
        "seconds": 60.0 * number,
    }


# The IoU of a Dice d is d / (2 - d). In epoch 3, two scans have a Dice of 0.9 and 0.3, so the mean
# Dice is 0.6 and the mean IoU (0.818 + 0.176) / 2 = 0.497. In the other epochs, all are equal.
BY_IOU = [
    epoch(1, 0.5, 1 / 3, is_best=True),
    epoch(2, 0.61, 0.439, is_best=True),
    epoch(3, 0.6, 0.497, is_best=True),
    epoch(4, 0.59, 0.418, is_best=False),
]


def stage(name, best):
    validation = ValidationDice(mean=0.6, by_site={"": 0.6}, iou=0.5)
    return StageProvenance(
        name=name,
        data="masks",
        training_scans=4,
        validation_scans=2,
        frozen_layers=0,
        trained_parameters=9,
        epoch=best,
        validation=validation,
    )


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def write_history(folder, rows):
    folder.mkdir(exist_ok=True)
    state = TrainingState("one", processes=1, history=rows)
    last = rows[-1] | {"epochs": 4, "validation": ValidationDice(**rows[-1]["validation"])}
    with HistoryWriter(folder, 4, state, enabled=True) as writer:
        writer.epoch(EpochReport(**last))
    return read_table(folder / "history.csv")


def test_the_plot_is_drawn_every_five_seconds_and_at_the_end(tmp_path, monkeypatch):
    now_s, drawn = [0.0], []
    monkeypatch.setattr(history.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(history, "plot_history", lambda *_: drawn.append(now_s[0]))
    state = TrainingState("one", processes=1, history=[])
    with HistoryWriter(tmp_path, 0, state, enabled=True) as writer:
        for row, second in zip(BY_IOU, (1.0, 4.0, 6.0, 7.0), strict=True):
            now_s[0] = second
            state.history.append(row)
            last = row | {"epochs": 4, "validation": ValidationDice(**row["validation"])}
            writer.epoch(EpochReport(**last))
        assert drawn == [6]
        now_s[0] = 8.0
    assert drawn == [6, 8]


def test_a_resumed_training_without_a_further_epoch_has_its_plot(tmp_path):
    state = TrainingState("one", processes=1, history=BY_IOU)
    with HistoryWriter(tmp_path, 4, state, enabled=True):
        pass
    assert (tmp_path / "curves.png").exists()


def test_a_plot_that_cannot_be_drawn_does_not_hide_what_stopped_the_training(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(history, "plot_history", full)
    state = TrainingState("one", processes=1, history=BY_IOU)
    with (
        pytest.raises(KeyboardInterrupt),
        HistoryWriter(tmp_path, 4, state, enabled=True),
    ):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="no space"), HistoryWriter(tmp_path, 4, state, enabled=True):
        pass


def test_sites_with_special_characters_are_drawn(tmp_path):
    sites = {r"$\x$": 0.2, "_": 0.4, "🧠": 0.6}
    row = epoch(1, 0.4, 0.3, is_best=True, by_site=sites)
    plot_history([row], tmp_path / "curves.png")
    assert Image.open(io.BytesIO((tmp_path / "curves.png").read_bytes())).width > 900


def test_the_marked_epoch_is_that_of_the_checkpoint_not_the_one_with_the_highest_dice():
    with figure(9, 4) as drawing:
        losses, scores = drawing.subplots(1, 2)
        draw_history(BY_IOU, losses, scores)
    mark = scores.get_lines()[-1]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([3], [0.6])
    assert labels(scores) == ["all scans", "best: epoch 3, Dice 0.600"]
    assert (losses.get_xlim(), scores.get_xlim()) == ((0.5, 4.5), (0.5, 4.5))
    assert (losses.get_xlabel(), scores.get_ylabel()) == ("epoch", "validation Dice")


def test_the_table_has_dice_and_iou(tmp_path):
    rows = write_history(tmp_path, BY_IOU)
    assert [row["validation_dice"] for row in rows] == ["0.5000", "0.6100", "0.6000", "0.5900"]
    assert [row["validation_iou"] for row in rows] == ["0.3333", "0.4390", "0.4970", "0.4180"]


def test_epochs_of_a_state_that_was_saved_without_iou_have_an_empty_cell(tmp_path):
    before = epoch(1, 0.5, None, is_best=True)
    del before["validation"]["iou"]
    rows = write_history(tmp_path, [before, BY_IOU[1]])
    assert [row["validation_iou"] for row in rows] == ["", "0.4390"]


def test_stages_are_joined_with_the_best_epoch_of_each(tmp_path):
    folders = [tmp_path / "1-bronze", tmp_path / "2-gold"]
    tables = [
        write_history(folder, rows)
        for folder, rows in zip(folders, (BY_IOU, BY_IOU[:2]), strict=True)
    ]
    stages = [stage("bronze", best=3), stage("gold", best=2)]
    write_stage_history(tmp_path, stages, folders)
    rows = read_table(tmp_path / "history.csv")
    assert [(row["stage"], row["epoch"]) for row in rows[3:]] == [
        ("bronze", "4"),
        ("gold", "1"),
        ("gold", "2"),
    ]
    assert [row["validation_iou"] for row in rows[3:]] == ["0.4180", "0.3333", "0.4390"]
    with figure(9, 4) as drawing:
        losses, scores = drawing.subplots(1, 2)
        draw_stages(stages, tables, losses, scores)
    assert labels(scores) == [
        "bronze: best epoch 3, Dice 0.600",
        "gold: best epoch 2, Dice 0.610",
    ]
    assert losses.get_xlim() == (0.5, 6.5)  # 4 + 2 epochs
    assert (losses.get_xlabel(), scores.get_ylim()) == ("epoch, all stages", (0, 1))
