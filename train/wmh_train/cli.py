"""`wmh-train`: from annotated scans to a calibrated checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress as Bar

from wmh_runtime.cli import terminal
from wmh_train.calibrate import calibrate as choose_calibration
from wmh_train.checkpoint import load_facts, save_facts
from wmh_train.loop import EpochReport, FitProgress
from wmh_train.loop import fit as train
from wmh_train.recipe import load_recipe

app = terminal.command_line("Train a WMH segmentation network and calibrate it.")

_Data = Annotated[
    Path, typer.Option(help="Folder of NAME_FLAIR.nii.gz with derivatives/reference.")
]


@app.command()
def fit(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    data: _Data,
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
) -> None:
    """Train a network as a recipe says and write its checkpoint."""
    with terminal.progress_bar() as bar:
        facts = train(load_recipe(recipe), data, out, _Display(bar))
    made = facts.provenance
    terminal.say(
        f"{made.trained_parameters:,} of {made.parameters:,} parameters trained. Checkpoint: {out}"
    )
    terminal.say(f"Next: wmh-train calibrate {out} --data {data}")


@app.command()
def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder that fit wrote.")],
    data: _Data,
) -> None:
    """Choose threshold and minimum lesion size on the validation scans, into the checkpoint."""
    facts = load_facts(checkpoint)
    with terminal.progress_bar() as bar:
        task = bar.add_task("calibrating", total=len(facts.validation_scans))
        chosen = choose_calibration(checkpoint, facts, data, lambda: bar.advance(task))
    save_facts(checkpoint, facts.model_copy(update={"calibration": chosen}))
    for output, mean_dice in zip(chosen.outputs, chosen.mean_dice, strict=True):
        terminal.say(
            f"{output.name}: threshold {output.threshold:g}, minimum {output.min_lesion_mm3:g} mm³,"
            f" mean Dice {mean_dice:.3f} on {chosen.scans} validation scan(s)"
        )


class _Display(FitProgress):
    """A bar for the preparation, one for the training, a line for each epoch."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._preparing = bar.add_task("preparing", total=None)
        self._training = bar.add_task("training", total=None, visible=False)

    def preparing(self, done: int, total: int) -> None:
        self._bar.update(self._preparing, completed=done, total=total)

    def training(self, step: int, steps: int, loss: float) -> None:
        self._bar.update(
            self._training,
            completed=step,
            total=steps,
            visible=True,
            description=f"training, loss {loss:.3f}",
        )

    def epoch(self, report: EpochReport) -> None:
        terminal.say(
            f"epoch {report.epoch}/{report.epochs}: loss {report.training_loss:.3f},"
            f" validation Dice of slices {report.validation_dice:.3f}, {report.seconds:.0f} s"
        )


def main() -> None:
    """Run `wmh-train`."""
    terminal.run(app)
