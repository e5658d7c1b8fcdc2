"""Cross-validation: every scan is segmented once by a network that never saw it.

out/
├── cache/            prepared slices, shared by the folds
├── fold-1/ …         a calibrated checkpoint each; see fit.py
├── predictions/      the masks of all scans, each by the fold whose test it was in
└── report-wmh/       how good they are, for each output
"""

from __future__ import annotations

from pathlib import Path

import torch

from wmh_runtime import bids
from wmh_runtime.errors import RecipeError
from wmh_runtime.evaluation import Evaluation, evaluate
from wmh_runtime.folders import make_writable_folder
from wmh_runtime.pairing import Pair
from wmh_runtime.report.evaluation import write_report
from wmh_runtime.report.summary import Sources
from wmh_runtime.scan import write_on_grid_of
from wmh_runtime.scoring import score
from wmh_runtime.segmenter import Segmenter
from wmh_train.backend import TorchBackend
from wmh_train.calibrate import calibrate_checkpoint
from wmh_train.checkpoint import Calibration, load_facts, load_network
from wmh_train.data.annotated import AnnotatedScan, DataSet
from wmh_train.data.split import fold_splits
from wmh_train.fit import CACHE_NAME, FitData, FitListener, fit
from wmh_train.model.base import Base
from wmh_train.recipe import Recipe

PREDICTIONS = "predictions"


def report_name(output: str) -> str:
    """Name the folder of an output's report."""
    return f"report-{output}"


class FoldListener:
    """Is told how a cross-validation goes. The default does nothing."""

    def fold(self, fold: int, folds: int) -> FitListener:  # noqa: ARG002
        """Fold `fold`, counted from 1, begins; returns who is told of its training."""
        return FitListener()

    def calibrating(self, done: int, total: int) -> None:
        """`done` of `total` validation scans are looked at."""

    def testing(self, done: int, total: int) -> None:
        """`done` of `total` test scans are segmented."""

    def calibrated(self, calibration: Calibration) -> None:
        """A fold's threshold and minimum size are chosen."""

    def warning(self, line: str) -> None:
        """Something is worth knowing."""


def cross_validate(
    recipe: Recipe,
    data: DataSet,
    folds: int,
    out: Path,
    base: Base | None,
    listener: FoldListener,
) -> dict[str, Evaluation]:
    """Train, calibrate and test once for each fold; what was finished before is kept.

    A fold's test scans are neither learned from nor calibrated on, so the figures are honest.

    Args:
        recipe: decides everything but the split.
        data: annotated scans.
        folds: how many parts their persons are dealt to.
        out: folder for all of it.
        base: weights of the encoder; needed where it is frozen.
        listener: is told how it goes.

    Returns:
        For each output the evaluation over all scans, which `report-…` shows.

    Raises:
        RecipeError: the data do not fit the recipe, or `out` holds something else.
        InputError: a scan cannot be read, or `out` not be written to.
    """
    splits = fold_splits(data.scans, folds, recipe.data, recipe.schedule.seed)
    by_name = {scan.name: scan for scan in data.scans}
    for number, split in enumerate(splits, start=1):
        folder = out / f"fold-{number}"
        told = listener.fold(number, folds)
        fit(
            recipe,
            FitData(data.name, data.scans, split),
            folder,
            base,
            told,
            cache=out / CACHE_NAME,
        )
        _calibrate(folder, data.scans, base, listener)
        _predict([by_name[name] for name in split.test], folder, base, out / PREDICTIONS, listener)
    return {
        output: _report(data, k, output, out, listener) for k, output in enumerate(recipe.outputs)
    }


def _calibrate(
    folder: Path, scans: tuple[AnnotatedScan, ...], base: Base | None, listener: FoldListener
) -> None:
    facts = load_facts(folder)
    calibration, total, done = facts.calibration, len(facts.split.validation), 0

    def one_more() -> None:
        nonlocal done
        done += 1
        listener.calibrating(done, total)

    if calibration is None:
        path = base.path if base is not None else None
        calibration = calibrate_checkpoint(folder, scans, path, one_more)
    listener.calibrated(calibration)


def _predict(
    scans: list[AnnotatedScan],
    folder: Path,
    base: Base | None,
    predictions: Path,
    listener: FoldListener,
) -> None:
    """Write the masks of a fold's test scans that are not there yet."""
    facts = load_facts(folder)
    assert facts.calibration is not None
    outputs = facts.calibration.outputs
    network = load_network(folder, facts, base.path if base is not None else None)
    if torch.cuda.is_available():
        network.cuda()
    with TorchBackend(network, facts.recipe) as backend:
        segmenter = Segmenter(facts.recipe.preparation, outputs, backend)
        for done, scan in enumerate(scans, start=1):
            paths = [_mask_path(predictions, scan, output.name) for output in outputs]
            if not all(path.exists() for path in paths):
                channels, _ = scan.load()
                results = segmenter.segment(*channels).results
                for path, result in zip(paths, results, strict=True):
                    make_writable_folder(path.parent)
                    write_on_grid_of(channels[0], result.lesions.mask, path)
            listener.testing(done, len(scans))


def _mask_path(predictions: Path, scan: AnnotatedScan, output: str) -> Path:
    """Name a scan's mask; a name with slashes, of the challenge, becomes folders."""
    name = Path(scan.name)
    return predictions / name.parent / bids.mask_name(name.name, output)


def _report(data: DataSet, k: int, output: str, out: Path, listener: FoldListener) -> Evaluation:
    pairs = {
        scan.name: Pair(
            name=scan.name,
            subject=scan.name,
            person=scan.person,
            site=scan.site,
            prediction=_mask_path(out / PREDICTIONS, scan, output),
            reference=scan.references[k],
        )
        for scan in data.scans
    }
    scores = score(pairs.values(), on_pair=lambda: None)
    if scores.failed:
        _, error = scores.failed[0]
        raise RecipeError(f"{len(scores.failed)} mask(s) cannot be compared: {error}", about=out)
    evaluation = evaluate(scores.cases)
    report = out / report_name(output)
    make_writable_folder(report)
    write_report(
        report,
        evaluation,
        scores.cases,
        pairs,
        {scan.name: scan.channels[0] for scan in data.scans},
        Sources(str(out / PREDICTIONS), data.name, ()),
        on_warning=listener.warning,
    )
    return evaluation
