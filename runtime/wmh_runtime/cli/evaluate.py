"""`wmh-eval`: masks and their references in, how good the masks are out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.pairing import Pairing, find_pairs, match_scans
from wmh_runtime.evaluation.report.summary import (
    CHALLENGE,
    METRICS,
    Sources,
    mean_and_interval,
    number,
)
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME, write_report
from wmh_runtime.evaluation.scoring import Scores, score
from wmh_runtime.evaluation.statistics import Evaluation, evaluate
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun

_NAMED_AT_MOST = 3  # of many files; the report names all
_LABEL_WIDTH = 16

app = console.command_line("Compare WMH masks with reference masks.")


@app.command(**console.ONLY_COMMAND)
def compare(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks, as wmh-infer writes it.")],
    references: Annotated[
        Path, typer.Argument(help="Folder of reference masks, or a .csv or .tsv table of pairs.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For the report.")],
    scans: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The scans, to draw errors over them."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Pass over references without a prediction.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=console.print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Compare WMH masks with reference masks.

    Dice, H95, AVD, lesion recall and lesion F1 as the WMH segmentation challenge defines them,
    agreement of volumes, by site and by lesion load; a picture of the worst cases. Masks that
    cannot be compared are named with the reason, and the others go on. Exit status: 0 all done,
    1 some masks failed, 2 nothing could be done.
    """
    pairing = find_pairs(predictions, references, allow_missing=allow_missing)
    found = discover(scans, out).scans if scans else ()
    make_writable_folder(out)
    scan_of = match_scans(pairing.pairs, found)
    if scans and not scan_of:
        console.print_warning(f"{scans}: holds the scan of no prediction")
    left_out = _tell_what_is_alone(pairing)
    console.print_line(f"{count_noun(len(pairing.pairs), 'mask')} to compare")
    with console.progress_bar() as bar:
        task = bar.add_task("comparing", total=len(pairing.pairs))
        scores = score(pairing.pairs, on_pair=lambda: bar.advance(task))
    for _, error in scores.failed:
        console.print_error(str(error))
    if not scores.cases:
        raise InputError("no mask could be compared", "See the reasons above.", about=predictions)
    evaluation = evaluate(scores.cases)
    left_out += [f"{pair.name}: {error}" for pair, error in scores.failed]
    write_report(
        out,
        evaluation,
        scores.cases,
        {pair.name: pair for pair in pairing.pairs},
        scan_of,
        Sources(str(predictions), str(references), tuple(left_out)),
        on_warning=console.print_warning,
    )
    _conclude(evaluation, scores, out)


def _tell_what_is_alone(pairing: Pairing) -> list[str]:
    """Say which files are not compared; return the same for the report, all of them."""
    notes = []
    for noun, lacking, paths in (
        ("reference", "without a prediction", pairing.missing),
        ("prediction", "without a reference", pairing.spare),
    ):
        if not paths:
            continue
        more = ", …" if len(paths) > _NAMED_AT_MOST else ""
        names = ", ".join(path.name for path in paths[:_NAMED_AT_MOST])
        what = f"{count_noun(len(paths), noun)} {lacking}"
        console.print_line(f"passed over {what}: {names}{more}")
        notes.append(f"{what}: {', '.join(str(path) for path in paths)}")
    return notes


def _conclude(evaluation: Evaluation, scores: Scores, out: Path) -> None:
    for metric in CHALLENGE:
        average = evaluation.overall.averages[metric]
        without = f" ({average.left_out} without value)" if average.left_out else ""
        _say_figure(METRICS[metric][0], mean_and_interval(metric, average) + without)
    volumes = evaluation.volumes
    _say_figure("Volume R²", number(volumes.r_squared, 3))
    limits = f"{number(volumes.lower_limit_ml, 2)} to {number(volumes.upper_limit_ml, 2)}"
    _say_figure("Volume bias", f"{number(volumes.bias_ml, 2)} mL, limits of agreement {limits} mL")
    console.print_line(
        f"{count_noun(len(scores.cases), 'mask')} compared. Report: {out / SUMMARY_NAME}"
    )
    if scores.failed:
        console.print_error(
            f"{count_noun(len(scores.failed), 'mask')} failed, for the reasons above"
        )
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _say_figure(label: str, value: str) -> None:
    console.print_line(f"{label:<{_LABEL_WIDTH}}{value}")


def main() -> None:
    """Run `wmh-eval`."""
    console.run(app)
