"""`wmh-bench`: what a bundle is worth, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_bench.accuracy import Accuracy, CaseAccuracy, held_out_phantoms, measure_accuracy
from wmh_export.assemble import CARD_NAME
from wmh_export.card import MeasuredAccuracy, model_card
from wmh_runtime.atomic import write_text_atomically
from wmh_runtime.bundle import Bundle, open_bundle
from wmh_runtime.cli import terminal
from wmh_runtime.folders import make_writable_folder

app = terminal.command_line("Measure a bundle.")

_ROW = "{:<12} {:<10} {:>5} {:>8} {:>8} {:>7} {:>9}"


@app.callback()
def _commands() -> None:
    """Keep `accuracy` a command of its own although it is the only one."""


@app.command()
def accuracy(
    bundle: Annotated[str, typer.Argument(help="Bundle folder, or the name of a shipped one.")],
    results: Annotated[
        Path | None, typer.Option(help="Also write the figures to this JSON file.")
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Also write them into the bundle's model card.")
    ] = False,
) -> None:
    """Measure the Dice on twelve held-out phantoms, beside that of an intensity threshold."""
    opened = open_bundle(bundle)
    if results is not None:
        make_writable_folder(results.parent)
    plans = held_out_phantoms()
    terminal.say(_ROW.format("phantom", "site", "CNR", "true mL", "mL", "Dice", "threshold"))
    with terminal.progress_bar() as bar:
        task = bar.add_task("measuring", total=len(plans))

        def show(case: CaseAccuracy) -> None:
            figures = (case.reference_ml, case.volume_ml, case.dice, case.threshold_dice)
            noise = case.contrast_to_noise
            terminal.say(_ROW.format(case.name, case.site, noise, *figures))
            bar.advance(task)

        measured = measure_accuracy(opened, plans, show)
    terminal.say(
        f"mean Dice {measured.mean_dice:.3f}, lowest {measured.lowest_dice:.3f};"
        f" intensity threshold {measured.threshold_mean_dice:.3f}"
    )
    if results is not None:
        write_text_atomically(results, measured.model_dump_json(indent=2) + "\n")
    if card:
        _write_card(opened, measured, f"wmh-bench accuracy {bundle}")


def _write_card(bundle: Bundle, measured: Accuracy, command: str) -> None:
    text = model_card(
        bundle.manifest,
        MeasuredAccuracy(
            data=f"{len(measured.cases)} phantoms that no training saw, 1 to 40 mL, three sites",
            mean_dice=measured.mean_dice,
            lowest_dice=measured.lowest_dice,
            threshold_mean_dice=measured.threshold_mean_dice,
            command=command,
        ),
    )
    write_text_atomically(bundle.folder / CARD_NAME, text)


def main() -> None:
    """Run `wmh-bench`."""
    terminal.run(app)
