"""`wmh-bench accuracy`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from wmh_bench.accuracy import (
    HELD_OUT_SUBJECTS,
    Accuracy,
    AnnotatedData,
    held_out_phantoms,
    mean_dice,
    measure_accuracy,
    temporary_phantoms,
)
from wmh_bench.commands.options import (
    BackendsOption,
    BundleArgument,
    PrecisionsOption,
    ResultsOption,
    format_number,
    parse_backends,
    parse_precisions,
    print_skipped,
    require_writable,
)
from wmh_bench.results import write_result
from wmh_bench.selection import select_backend_precisions
from wmh_export.model_card import model_card
from wmh_runtime.bundle.accuracy import MeasuredAccuracy
from wmh_runtime.bundle.bundle import CARD_NAME, Bundle, load_bundle, write_manifest
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_tta
from wmh_runtime.dataset.bids import read_dataset_name
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.text import count_noun


def accuracy(
    bundle: BundleArgument,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of annotated FLAIR scans. Default: twelve phantoms."),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="Reference masks, as in wmh-eval. Default: the masks in DATA."),
    ] = None,
    backend: BackendsOption = "",
    precision: PrecisionsOption = "",
    tta: Annotated[str, typer.Option(help="As in wmh-infer.")] = "full",
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help="Also write the accuracy to the bundle and its model card. The scans must have"
            " taken no part in training and calibration.",
        ),
    ] = False,
    results: ResultsOption = None,
) -> None:
    """Measure the accuracy of masks in every backend and precision, with the metrics of wmh-eval.

    Without DATA, twelve phantoms are used that no training saw, and the best intensity threshold is
    measured for comparison.
    """
    opened = load_bundle(bundle)
    pairs = select_backend_precisions(parse_backends(backend), parse_precisions(precision))
    if not pairs:
        raise InputError("nothing is left to measure", "Leave out --backend or --precision.")
    if card and ("onnxruntime", "fp32") not in pairs:
        problem = "needs onnxruntime in fp32"
        raise InputError(problem, "Leave out --backend and --precision.", about="--card")
    require_writable(results)

    def on_result(measured: Accuracy) -> None:
        if results is not None:
            write_result(results, measured)

    with console.progress_bar() as bar:
        task = bar.add_task("segmenting", total=None)

        def advance() -> None:
            bar.advance(task)

        annotated: AbstractContextManager[AnnotatedData]
        if data is None:
            bar.update(task, total=HELD_OUT_SUBJECTS * (1 + len(pairs)))
            annotated = temporary_phantoms(held_out_phantoms(), advance)
        else:
            bar.update(task, total=len(discover(data).scans) * len(pairs))
            name = read_dataset_name(data) or "annotated scans"
            annotated = nullcontext(AnnotatedData(name, data, references or data))
        with annotated as scans:
            measured = measure_accuracy(opened, scans, pairs, parse_tta(tta), advance, on_result)
    _print(measured)
    if card:
        _write_to_bundle(opened, measured)


def _print(measured: Accuracy) -> None:
    if not measured.rows:
        raise BackendError(
            "nothing could be measured: " + "; ".join(measured.skipped.values()),
            "Choose another --backend or --precision.",
        )
    line = "{:<22} {:>7} {:>7} {:>7} {:>8} {:>8} {:>9}"
    console.print_line(
        line.format("", "Dice", "lowest", "H95 mm", "AVD %", "recall", "lesion F1")
        + f"  ({count_noun(measured.scans, 'scan')}: {measured.data})"
    )
    for row in measured.rows:
        names = ("h95_mm", "avd_percent", "lesion_recall", "lesion_f1")
        means = [row.metrics[name].mean for name in names]
        dice = [case.dice for case in row.cases if case.dice is not None]
        lowest = min(dice) if dice else None
        cells = [format_number(value) for value in (row.metrics["dice"].mean, lowest, *means)]
        console.print_line(line.format(f"{row.backend} {row.precision}", *cells))
    if measured.threshold_dice:
        best = sum(measured.threshold_dice.values()) / len(measured.threshold_dice)
        console.print_line(
            f"best intensity threshold, chosen with the reference masks: Dice {best:.4g}"
        )
    for name, reason in measured.skipped.items():
        print_skipped(name, reason)


def _write_to_bundle(bundle: Bundle, measured: Accuracy) -> None:
    """Write the accuracy of the default backend to the manifest and the model card."""
    row = measured.row("onnxruntime", "fp32")
    threshold_dice = measured.threshold_dice.values()
    accuracy = MeasuredAccuracy(
        data=measured.data,
        scans=measured.scans,
        mean_dice=round(mean_dice(row), 4),
        lowest_dice=round(min(case.dice for case in row.cases if case.dice is not None), 4),
        threshold_mean_dice=round(fmean(threshold_dice), 4) if threshold_dice else None,
        by_load=row.by_load,
    )
    manifest = bundle.manifest.model_copy(update={"accuracy": accuracy})
    write_manifest(bundle.folder, manifest)
    write_text_atomically(bundle.folder / CARD_NAME, model_card(manifest))
