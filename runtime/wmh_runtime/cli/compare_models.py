"""`wmh-eval compare`: reports of several models in, which one is better out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.comparison.analysis import ALL, Comparison, analyze
from wmh_runtime.evaluation.comparison.factors import find_factors
from wmh_runtime.evaluation.comparison.measures import MEASURES
from wmh_runtime.evaluation.comparison.reports import read_reports
from wmh_runtime.evaluation.comparison.summary import mean_and_sd, significant_differences
from wmh_runtime.evaluation.comparison.writer import write_comparison
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun

NAME = "compare"
_EXAMPLE = "Give at least two: wmh-eval compare first=REPORT second=REPORT --out comparison"

app = console.command_line("Compare WMH masks with reference masks, and models with each other.")


@app.callback()
def _group() -> None:
    """Make the name of the command part of the command line."""


# Segmenting needs neither, so they are imported where they are used.
@app.command(NAME, **console.ONLY_COMMAND)
@console.needs("eval", "scipy", "matplotlib")
def compare(
    reports: Annotated[
        list[str],
        typer.Argument(
            help="Report folders that wmh-eval wrote, one for each model. The name of the model is"
            " that of the folder, or give NAME=FOLDER.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the comparison.")],
    participants: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table (.tsv or .csv) with the column participant_id, for --factor.",
        ),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of --participants by which scans are grouped, such as the clinical"
            " stage; besides site and lesion load. May be repeated.",
        ),
    ] = None,
) -> None:
    """Compare several models that were evaluated on the same scans.

    Only scans that all reports have are compared, by F-measure, IoU and H95. Each pair of models
    has its differences on the same scans, with intervals and Wilcoxon's test. Analysis of variance
    and t-tests, by model and by site, lesion load and other factors, are for comparison with
    published tables. All p-values of pairs have Holm's correction.
    Exit status: 0 compared, 2 nothing could be compared.
    """
    folders = _named(reports)
    if participants and not factor:
        problem = "is given, but no column of it"
        raise InputError(problem, "Name a column with --factor.", about="--participants")
    for folder in folders.values():
        if out.resolve() == folder.resolve():
            problem = "as folder for the comparison would replace files of a report"
            raise InputError(problem, "Choose another folder.", about=out)
    scores = read_reports(folders)
    factors = find_factors(scores.scans, participants, factor or ())
    make_writable_folder(out)
    models = count_noun(len(scores.models), "model")
    console.print_line(f"{models} on {count_noun(len(scores.scans), 'scan')} that all reports have")
    for model, left_out in scores.left_out.items():
        if left_out:
            scans = count_noun(left_out, "scan")
            console.print_warning(f"{model}: {scans} left out that another report lacks")
    for line in factors.skipped:
        console.print_line(f"skipped {line}")
    comparison = analyze(scores, factors)
    write_comparison(out, comparison, folders)
    _conclude(comparison)
    console.print_line(f"Comparison: {out / SUMMARY_NAME}")


def _named(reports: Sequence[str]) -> Mapping[str, Path]:
    """Return the folder of each model by its name.

    Raises:
        InputError: there are fewer than two, or two of one name.
    """
    folders: dict[str, Path] = {}
    for report in reports:
        name, equals, path = report.partition("=")
        if equals and not Path(report).is_dir():
            folder = Path(path)
        else:
            folder = Path(report)
            name = folder.resolve().name
        if not name:
            raise InputError("has no name", "Give NAME=FOLDER.", about=report)
        if name in folders:
            problem = f"is the name of two models, in {folders[name]} and {folder}"
            raise InputError(problem, "Give NAME=FOLDER.", about=name)
        folders[name] = folder
    if len(folders) < 2:
        raise InputError(f"{count_noun(len(folders), 'report')} to compare", _EXAMPLE)
    return folders


def _conclude(comparison: Comparison) -> None:
    for model in comparison.scores.models:
        found = [one for one in comparison.descriptions if (one.model, one.by) == (model, ALL)]
        values = [
            f"{measure.title} {mean_and_sd(one)}"
            for measure, one in zip(MEASURES, found, strict=True)
        ]
        console.print_line(f"{model}: {', '.join(values)}")
    for line in significant_differences(comparison) or ["no significant difference of models"]:
        console.print_line(line)
