"""`wmh-eval`: masks and their references in, how good the masks are out."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from wmh_runtime.cli import compare_models, console
from wmh_runtime.dataset.discovery import Discovery, discover
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.output_names import WMH, find_outputs
from wmh_runtime.evaluation.pairing import Pair, Pairing, find_pairs
from wmh_runtime.evaluation.provenance import are_exchanged
from wmh_runtime.evaluation.region_scores import (
    REGION_SCORES_NAME,
    FoundRegions,
    find_regions,
    score_regions,
    write_region_scores,
)
from wmh_runtime.evaluation.report.summary import (
    CHALLENGE,
    METRICS,
    Sources,
    format_correlation,
    format_limits,
    format_number,
    mean_and_interval,
)
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME, write_report
from wmh_runtime.evaluation.scan_of_pair import match_scans
from wmh_runtime.evaluation.scoring import score
from wmh_runtime.evaluation.statistics import Evaluation, evaluate
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun

_MAX_NAMES = 3  # of files; the report has all
_LABEL_WIDTH = 16
_EXCHANGED = "wmh-infer made the references, and not the predictions: are the folders exchanged?"

app = console.command_line("Compare WMH masks with reference masks.")


# Segmenting needs neither, so they are imported where they are used.
@app.command(**console.ONLY_COMMAND)
@console.needs("eval", "scipy", "matplotlib")
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
    _version: console.VersionOption = False,
) -> None:
    """Compare WMH masks with reference masks.

    The report has Dice, H95, AVD, lesion recall and lesion F1 as the WMH segmentation challenge
    defines them, the agreement of volumes, results by site and by lesion load, and an image of the
    worst cases. If both sides have masks of several outputs (label-WMH, label-INFARCT, ...), each
    output has its own report. Regions of the brain that both sides have (wmh-infer --regions) are
    compared by Dice and volume. A mask that cannot be compared is reported with the reason, and the
    others go on.
    To compare the reports of several models on the same scans: wmh-eval compare --help.
    Exit status: 0 all masks compared, 1 some masks failed, 2 nothing could be done.
    """
    regions = FoundRegions({}, ())
    if predictions.is_dir() and references.is_dir():
        regions = find_regions(predictions, references)
    pairings = {
        output: find_pairs(predictions, references, output=output, allow_missing=allow_missing)
        for output in _outputs(predictions, references, regions.pairings)
    }
    for folder in (predictions, references, *([scans] if scans else [])):
        if out.resolve() == folder.resolve():
            problem = "as folder for the report would mix it with masks or scans"
            raise InputError(problem, "Choose another folder.", about=out)
    found = discover(scans, out) if scans else Discovery((), ())
    make_writable_folder(out)
    failed: list[Pair] = []
    errors: list[InputError] = []
    for output, pairing in pairings.items():
        scan_of = match_scans(pairing.pairs, found.scans, found.images)
        if scans and not scan_of:
            console.print_warning(f"{scans}: no scan belongs to a prediction")
        folder = out / f"label-{output.upper()}" if len(pairings) > 1 else out
        sources = Sources(str(predictions), str(references), output=output)
        try:
            failed += _evaluate(pairing, scan_of, sources, folder)
        except InputError as error:
            errors.append(error)
            failed += pairing.pairs
    if regions.pairings or regions.only_predicted:
        failed += _evaluate_regions(regions, out)
    if errors and len(errors) == len(pairings):
        raise errors[0]
    for one in errors:
        console.print_error(str(one))
    if failed:
        console.print_error(f"{count_noun(len(failed), 'mask')} failed, for the reasons above")
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _outputs(predictions: Path, references: Path, regions: Collection[str]) -> tuple[str, ...]:
    """Return the outputs to evaluate besides the regions, and print which cannot be."""
    if not (predictions.is_dir() and references.is_dir()):
        return (WMH,)
    outputs = find_outputs(predictions, references)
    for names, where in (
        (outputs.only_predicted, "predictions"),
        (outputs.only_in_references, "references"),
    ):
        others = [name for name in names if name not in regions]
        if others and (outputs.shared or regions):
            console.print_line(f"skipped masks of {', '.join(others)}: only in the {where}")
    return outputs.shared or (() if regions else (WMH,))


def _evaluate(
    pairing: Pairing, scan_of: Mapping[str, Path], sources: Sources, folder: Path
) -> list[Pair]:
    """Compare the masks of an output, and write the report; return the pairs that failed."""
    skipped = _report_unpaired(pairing, (Path(sources.predictions), Path(sources.references)))
    console.print_line(
        f"{count_noun(len(pairing.pairs), f'{sources.output.upper()} mask')} to compare"
    )
    make_writable_folder(folder)
    pairs = pairing.pairs
    if are_exchanged([one.prediction for one in pairs], [one.reference for one in pairs]):
        console.print_warning(_EXCHANGED)
        sources = replace(sources, warnings=(_EXCHANGED,))
    with console.progress_bar() as bar:
        task = bar.add_task("comparing", total=len(pairing.pairs))
        scores = score(pairing.pairs, lambda: bar.advance(task), folder)
    for _, error in scores.failed:
        console.print_error(str(error))
    if not scores.cases:
        problem = f"no {sources.output.upper()} mask could be compared"
        raise InputError(problem, "The errors above say why.", about=sources.predictions)
    evaluation = evaluate(scores.cases)
    skipped += [f"{pair.name}: {error}" for pair, error in scores.failed]
    made_by = write_report(
        folder,
        evaluation,
        scores.cases,
        {pair.name: pair for pair in pairing.pairs},
        scan_of,
        replace(sources, not_compared=tuple(skipped)),
        on_warning=console.print_warning,
    )
    for warning in made_by.warnings:
        console.print_warning(warning)
    _conclude(evaluation, len(scores.cases), folder)
    return [pair for pair, _ in scores.failed]


def _evaluate_regions(regions: FoundRegions, out: Path) -> list[Pair]:
    """Compare the regions, and write their table; return the pairs that failed."""
    if regions.only_predicted:
        names = ", ".join(regions.only_predicted)
        console.print_line(f"skipped the regions {names}: only in the predictions")
    if not regions.pairings:
        return []
    console.print_line(f"{', '.join(regions.pairings)} to compare")
    for region, pairing in regions.pairings.items():
        if missing := len(pairing.without_prediction):
            references = count_noun(missing + len(pairing.pairs), "reference")
            console.print_warning(f"{region}: {missing} of {references} without a prediction")
    with console.progress_bar() as bar:
        total = sum(len(pairing.pairs) for pairing in regions.pairings.values())
        task = bar.add_task("comparing regions", total=total)
        result = score_regions(regions.pairings, lambda: bar.advance(task), out)
    for _, error in result.failed:
        console.print_error(str(error))
    if not result.scores:
        console.print_error("no region could be compared")
        return [pair for pair, _ in result.failed]
    for region in regions.pairings:
        if scores := result.of(region):
            dice = fmean(score.dice for score in scores)
            bias_ml = fmean(score.predicted_ml - score.reference_ml for score in scores)
            scans = count_noun(len(scores), "scan")
            _print_figure(region, f"Dice {dice:.3f}, volume {bias_ml:+.2f} mL, mean of {scans}")
    write_region_scores(out / REGION_SCORES_NAME, result.scores)
    console.print_line(f"Regions of each scan: {out / REGION_SCORES_NAME}")
    return [pair for pair, _ in result.failed]


def _report_unpaired(pairing: Pairing, folders: Sequence[Path]) -> list[str]:
    """Print which files are not compared; return the same for the report, with all names."""
    notes = []
    for noun, missing, paths in (
        ("reference", "without a prediction", pairing.without_prediction),
        ("prediction", "without a reference", pairing.without_reference),
    ):
        if not paths:
            continue
        more = ", …" if len(paths) > _MAX_NAMES else ""
        names = ", ".join(_relative_name(path, folders) for path in paths[:_MAX_NAMES])
        what = f"{count_noun(len(paths), noun)} {missing}"
        console.print_line(f"skipped {what}: {names}{more}")
        notes.append(f"{what}: {', '.join(str(path) for path in paths)}")
    return notes


def _relative_name(path: Path, folders: Sequence[Path]) -> str:
    """Write a path relative to the folder that contains it: names alone may all be equal."""
    for folder in folders:
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return str(path)


def _conclude(evaluation: Evaluation, count: int, folder: Path) -> None:
    for metric in CHALLENGE:
        average = evaluation.overall.averages[metric]
        without = f" ({average.without_value} without value)" if average.without_value else ""
        _print_figure(METRICS[metric][0], mean_and_interval(metric, average) + without)
    volumes = evaluation.volumes
    _print_figure("Volume R²", format_correlation(volumes.r_squared))
    bias = format_number(volumes.bias_ml, 2)
    limits = f"limits of agreement: {format_limits(volumes)}"
    _print_figure("Volume bias", f"{bias} mL, {limits}")
    console.print_line(f"{count_noun(count, 'mask')} compared. Report: {folder / SUMMARY_NAME}")


def _print_figure(label: str, value: str) -> None:
    console.print_line(f"{label:<{_LABEL_WIDTH}}{value}")


def main() -> None:
    """Run `wmh-eval`, or `wmh-eval compare`."""
    console.run(compare_models.app if sys.argv[1:2] == [compare_models.NAME] else app)
