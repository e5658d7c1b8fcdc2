"""What `wmh-train` shows while it trains, calibrates and tests."""

from __future__ import annotations

import time

from rich.progress import Progress as Bar

from wmh_runtime.bundle.calibration import Calibration
from wmh_runtime.cli import console
from wmh_runtime.evaluation.statistics import ScoredCase
from wmh_runtime.text import count_noun
from wmh_train.calibration.calibrate import sweep_warnings
from wmh_train.cross_validation import FoldListener
from wmh_train.fit.fit import FitListener
from wmh_train.loop.training_loop import EpochReport, StepReport

_ESTIMATE_AFTER_STEPS = 3  # after the first one


class FitDisplay(FitListener):
    """Shows progress bars for preprocessing and training, and prints a line per epoch."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._preprocessing = bar.add_task("preprocessing", total=None, visible=False)
        self._training = bar.add_task("training", total=None, visible=False)
        self._first_step: tuple[int, float] | None = None  # its number, and when it was done
        self._has_estimate = False

    def preprocessing(self, done: int, total: int) -> None:
        self._bar.update(self._preprocessing, completed=done, total=total, visible=done < total)

    def warning(self, line: str) -> None:
        console.print_warning(line)

    def info(self, line: str) -> None:
        console.print_line(line)

    def step(self, report: StepReport) -> None:
        self._bar.update(
            self._training,
            completed=report.step,
            total=report.steps,
            visible=True,
            description=f"training, loss {report.losses['total']:.3f}",
        )
        self._estimate(report)

    def stopping(self) -> None:
        console.print_line(
            "stopping after this step, or after this validation and a step; press Ctrl-C again to"
            " stop at once and lose the steps since the last save"
        )

    def _estimate(self, report: StepReport) -> None:
        """Print the time of a step and of the training, once; the first step is slower."""
        now = time.monotonic()
        if self._first_step is None:
            self._first_step = report.step, now
        first, began = self._first_step
        steps = report.step - first
        if self._has_estimate or steps < _ESTIMATE_AFTER_STEPS:
            return
        self._has_estimate = True
        seconds_per_step = (now - began) / steps
        minutes_left = seconds_per_step * (report.steps - report.step) / 60
        console.print_line(
            f"a step takes {seconds_per_step:.2g} s; about {minutes_left:.0f} min left,"
            " and the time of the validations"
        )

    def epoch(self, report: EpochReport) -> None:
        losses, validation = report.losses, report.validation
        parts = ", ".join(
            f"{name} {value:.3f}" for name, value in losses.items() if name != "total" and value
        )
        sites = ", ".join(f"{site} {value:.3f}" for site, value in validation.by_site.items())
        console.print_line(
            f"epoch {report.epoch}/{report.epochs}: loss {losses['total']:.3f} ({parts}),"
            f" validation Dice {validation.mean:.3f}"
            + (f" ({sites})" if len(validation.by_site) > 1 else "")
            + ("" if validation.iou is None else f", IoU {validation.iou:.3f}")
            + (", best so far" if report.is_best else "")
            + f", {report.seconds / 60:.1f} min, about {_minutes_left(report):.0f} min left"
        )


def _minutes_left(report: EpochReport) -> float:
    return report.seconds / 60 / report.epoch * (report.epochs - report.epoch)


class FoldDisplay(FoldListener):
    """Shows the training of each fold, then a progress bar for calibration and test."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, visible=False)

    def fold(self, fold: int, folds: int) -> FitListener:
        console.print_line(f"fold {fold} of {folds}")
        return FitDisplay(self._bar)

    def calibrating(self, done: int, total: int) -> None:
        self._show("calibrating", done, total)

    def calibrated(self, calibration: Calibration) -> None:
        print_calibration(calibration)

    def testing(self, done: int, total: int) -> None:
        self._show("segmenting the test scans", done, total)

    def scored(self, output: str, cases: list[ScoredCase]) -> None:
        mean = sum(case.metrics.dice for case in cases) / len(cases)
        console.print_line(
            f"{output}: mean Dice {mean:.3f} on {count_noun(len(cases), 'test scan')} of this fold"
        )

    def warning(self, line: str) -> None:
        console.print_warning(line)

    def _show(self, description: str, done: int, total: int) -> None:
        self._bar.update(
            self._task, description=description, completed=done, total=total, visible=done < total
        )


def print_calibration(calibration: Calibration) -> None:
    """Print each operating point, and what is doubtful about it."""
    for point in calibration.operating_points:
        for output, dice, f1 in zip(
            point.outputs, point.mean_dice, point.mean_lesion_f1, strict=True
        ):
            console.print_line(
                f"{output.name}, {count_noun(point.views, 'view')}: threshold"
                f" {output.threshold:g}, minimum"
                f" {output.min_lesion_mm3:g} mm³, mean Dice {dice:.3f}, lesion F1 {f1:.3f}"
                f" on {count_noun(calibration.scans, 'validation scan')}"
            )
    for warning in sweep_warnings(calibration):
        console.print_warning(warning)
