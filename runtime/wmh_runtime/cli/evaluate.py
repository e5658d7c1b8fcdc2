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
    format_number,
    mean_and_interval,
)
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME, write_report
from wmh_runtime.evaluation.scoring import Scores, score
from wmh_runtime.evaluation.statistics import Evaluation, evaluate
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun

_MAX_NAMES = 3  # of files; the report has all
_LABEL_WIDTH = 16

app = console.command_line("Compare WMH masks with reference masks.")


@app.command(**console.ONLY_COMMAND)
def compare(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks, as wmh-infer writes it.")],
    references: Annotated[
        Path, typer.Argument(help="Folder of reference masks, or a .csv or .tsv table of pairs.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the report.")],
    scans: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the scans, to draw the errors on them."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Skip references without a prediction.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=console.print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Compare WMH masks with reference masks.

    The report has Dice, H95, AVD, lesion recall and lesion F1 as the WMH segmentation challenge
    defines them, the agreement of volumes, results by site and by lesion load, and an image of the
    worst cases. A mask that cannot be compared is reported with the reason, and the others go on.
    Exit status: 0 all masks compared, 1 some masks failed, 2 nothing could be done.
    """
    pairing = find_pairs(predictions, references, allow_missing=allow_missing)
    found = discover(scans, out).scans if scans else ()
    make_writable_folder(out)
    scan_of = match_scans(pairing.pairs, found)
    if scans and not scan_of:
        console.print_warning(f"{scans}: no scan belongs to a prediction")
    skipped = _report_unpaired(pairing)
    console.print_line(f"{count_noun(len(pairing.pairs), 'mask')} to compare")
    with console.progress_bar() as bar:
        task = bar.add_task("comparing", total=len(pairing.pairs))
        scores = score(pairing.pairs, lambda: bar.advance(task), out)
    for _, error in scores.failed:
        console.print_error(str(error))
    if not scores.cases:
        raise InputError(
            "no mask could be compared", "The errors above say why.", about=predictions
        )
    evaluation = evaluate(scores.cases)
    skipped += [f"{pair.name}: {error}" for pair, error in scores.failed]
    write_report(
        out,
        evaluation,
        scores.cases,
        {pair.name: pair for pair in pairing.pairs},
        scan_of,
        Sources(str(predictions), str(references), tuple(skipped)),
        on_warning=console.print_warning,
    )
    _conclude(evaluation, scores, out)


def _report_unpaired(pairing: Pairing) -> list[str]:
    """Print which files are not compared; return the same for the report, with all names."""
    notes = []
    for noun, missing, paths in (
        ("reference", "without a prediction", pairing.without_prediction),
        ("prediction", "without a reference", pairing.without_reference),
    ):
        if not paths:
            continue
        more = ", …" if len(paths) > _MAX_NAMES else ""
        names = ", ".join(path.name for path in paths[:_MAX_NAMES])
        what = f"{count_noun(len(paths), noun)} {missing}"
        console.print_line(f"skipped {what}: {names}{more}")
        notes.append(f"{what}: {', '.join(str(path) for path in paths)}")
    return notes


def _conclude(evaluation: Evaluation, scores: Scores, out: Path) -> None:
    for metric in CHALLENGE:
        average = evaluation.overall.averages[metric]
        without = f" ({average.without_value} without value)" if average.without_value else ""
        _print_figure(METRICS[metric][0], mean_and_interval(metric, average) + without)
    volumes = evaluation.volumes
    _print_figure("Volume R²", format_number(volumes.r_squared, 3))
    lower, upper = (
        format_number(volumes.lower_limit_ml, 2),
        format_number(volumes.upper_limit_ml, 2),
    )
    bias = format_number(volumes.bias_ml, 2)
    _print_figure("Volume bias", f"{bias} mL, limits of agreement {lower} to {upper} mL")
    console.print_line(
        f"{count_noun(len(scores.cases), 'mask')} compared. Report: {out / SUMMARY_NAME}"
    )
    if scores.failed:
        console.print_error(
            f"{count_noun(len(scores.failed), 'mask')} failed, for the reasons above"
        )
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _print_figure(label: str, value: str) -> None:
    console.print_line(f"{label:<{_LABEL_WIDTH}}{value}")


def main() -> None:
    """Run `wmh-eval`."""
    console.run(app)
