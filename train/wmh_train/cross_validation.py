"""Cross-validation: each scan is segmented by a network that was not trained on it.

out/
├── cache/            preprocessed slices, shared by all folds
├── fold-1/ …         a calibrated checkpoint, see fit.py, and the masks of the test scans
└── report-wmh/       evaluation of all masks, one report per output
"""

from __future__ import annotations

from pathlib import Path

from wmh_runtime.bundle.calibration import Calibration
from wmh_runtime.dataset import bids
from wmh_runtime.errors import RecipeError
from wmh_runtime.evaluation.pairing import Pair
from wmh_runtime.evaluation.report.summary import Sources
from wmh_runtime.evaluation.report.writer import write_report
from wmh_runtime.evaluation.scoring import score
from wmh_runtime.evaluation.statistics import Evaluation, ScoredCase, evaluate
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.case_failure import as_failure_of
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.schema import StrictModel, json_without_defaults
from wmh_runtime.text import count_noun
from wmh_train.calibration.calibrate import calibrate_checkpoint
from wmh_train.checkpoint import load_metadata, load_network, pretrained_file
from wmh_train.data.annotated import AnnotatedScan, Dataset
from wmh_train.data.cache_entry import scan_key
from wmh_train.data.split import fold_splits
from wmh_train.fit.fit import CACHE_NAME, FitData, FitListener, fit
from wmh_train.fit.input_checks import require_sources
from wmh_train.initial_weights import InitialWeights
from wmh_train.loop.distributed import move_to_device, require_one_process
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend, segmentation_model

PREDICTIONS = "predictions"
_INPUTS_NAME = "made_by.json"  # records the inputs of the masks in the same folder


class _PredictionInputs(StrictModel):
    """The inputs that the masks of a fold depend on."""

    weights_sha256: str
    outputs: list[Output]
    scan_keys: dict[str, str]


def report_name(output: str) -> str:
    """Return the folder name of an output's report."""
    return f"report-{output}"


class FoldListener:
    """Receives the progress of a cross-validation. By default it does nothing."""

    def fold(self, fold: int, folds: int) -> FitListener:  # noqa: ARG002
        """Called before fold number `fold`, from 1. Returns the listener of its training."""
        return FitListener()

    def calibrating(self, done: int, total: int) -> None:
        """Called after each validation scan: `done` of `total` are segmented."""

    def testing(self, done: int, total: int) -> None:
        """Called after each test scan: `done` of `total` are segmented."""

    def calibrated(self, calibration: Calibration) -> None:
        """Called after the calibration of a fold."""

    def scored(self, output: str, cases: list[ScoredCase]) -> None:
        """Called for each output of a fold with the scores of its test scans."""

    def warning(self, line: str) -> None:
        """Called for each warning."""


def cross_validate(
    recipe: Recipe,
    data: Dataset,
    folds: int,
    out: Path,
    pretrained: PretrainedWeights | None,
    listener: FoldListener,
    *,
    cache: Path | None = None,
    initial: InitialWeights | None = None,
) -> dict[str, Evaluation]:
    """Train, calibrate and test one network per fold. Finished folds are kept.

    The test scans of a fold are used neither for its training nor for its calibration, so the
    scores are unbiased.

    Args:
        recipe: all settings except the split.
        data: annotated scans.
        folds: number of folds. Each subject is a test subject in one of them.
        out: output folder.
        pretrained: weights of the encoder; required if it is frozen.
        listener: receives the progress.
        cache: folder of preprocessed slices; None: a folder in `out`.
        initial: weights of another training that each fold starts from; None: random ones.

    Returns:
        Output name → evaluation over all scans, also written to `report-…`.

    Raises:
        RecipeError: the data do not fit the recipe, `out` contains other results, or there are
            several processes.
        InputError: a scan cannot be read, or `out` cannot be written.
    """
    require_one_process("cross-validation")
    require_sources(recipe, None)
    if not recipe.outputs:
        problem = "predicts regions only, and cross-validation scores lesions"
        raise RecipeError(problem, "Train it with fit.", about=recipe.name)
    splits = fold_splits(data.scans, folds, recipe.data, recipe.schedule.seed)
    by_name = {scan.name: scan for scan in data.scans}
    if initial is not None and (seen := _scans_of(initial, data, recipe)):
        listener.warning(
            f"{initial.identity.name} was trained on {len(seen)} of the"
            f" {count_noun(len(data.scans), 'scan')}, such as {seen[0]}: their scores are too high"
        )
    pairs: dict[str, list[Pair]] = {output: [] for output in recipe.outputs}
    cases: dict[str, list[ScoredCase]] = {output: [] for output in recipe.outputs}
    for number, split in enumerate(splits, start=1):
        folder = out / f"fold-{number}"
        fit(
            recipe,
            FitData(data.name, data.scans, split),
            folder,
            pretrained,
            listener.fold(number, folds),
            cache=cache or out / CACHE_NAME,
            initial=initial,
        )
        _calibrate(folder, data.scans, pretrained, listener)
        test_scans = [by_name[name] for name in split.test]
        masks = _predict(test_scans, folder, pretrained, listener)
        for k, output in enumerate(recipe.outputs):
            fold_pairs = [_pair(scan, masks[scan.name][k], k) for scan in test_scans]
            pairs[output] += fold_pairs
            fold_cases = _score_pairs(fold_pairs, folder)
            cases[output] += fold_cases
            listener.scored(output, fold_cases)
    return {
        output: _report(data, output, pairs[output], cases[output], out, listener)
        for output in recipe.outputs
    }


def _scans_of(initial: InitialWeights, data: Dataset, recipe: Recipe) -> list[str]:
    """Return the scans that the starting weights were trained on."""
    keys = {scan.name: scan_key(scan, recipe.preprocessing) for scan in data.scans}
    return initial.trained_on(data.scans, keys)


def _calibrate(
    folder: Path,
    scans: tuple[AnnotatedScan, ...],
    pretrained: PretrainedWeights | None,
    listener: FoldListener,
) -> None:
    metadata = load_metadata(folder)
    calibration, total, done = metadata.calibration, len(metadata.split.validation), 0

    def count_scan() -> None:
        nonlocal done
        done += 1
        listener.calibrating(done, total)

    if calibration is None:
        calibration = calibrate_checkpoint(
            folder, scans, pretrained_file(metadata, pretrained), count_scan
        )
    listener.calibrated(calibration)


def _predict(
    scans: list[AnnotatedScan],
    folder: Path,
    pretrained: PretrainedWeights | None,
    listener: FoldListener,
) -> dict[str, list[Path]]:
    """Segment the test scans of a fold, unless their masks exist with the same inputs.

    Returns:
        Scan name → mask files, one per output.
    """
    metadata = load_metadata(folder)
    assert metadata.calibration is not None
    outputs = metadata.calibration.outputs
    masks = {
        scan.name: [_mask_path(folder / PREDICTIONS, scan, output.name) for output in outputs]
        for scan in scans
    }
    inputs_path = folder / PREDICTIONS / _INPUTS_NAME
    inputs = json_without_defaults(
        _PredictionInputs(
            weights_sha256=metadata.weights_sha256,
            outputs=outputs,
            scan_keys={scan.name: scan_key(scan, metadata.recipe.preprocessing) for scan in scans},
        )
    )
    if inputs_path.exists() and inputs_path.read_text(encoding="utf-8") == inputs:
        return masks
    pretrained_path = pretrained_file(metadata, pretrained)
    network = move_to_device(load_network(folder, metadata, pretrained_path))
    recipe = metadata.recipe
    with (
        TorchBackend(network, metadata.recipe) as backend,
        Segmenter(segmentation_model(recipe, outputs), [backend]) as segmenter,
    ):
        for done, scan in enumerate(scans, start=1):
            with as_failure_of(scan.channels[0], folder):
                channels, _ = scan.load()
                results = segmenter.segment(channels).results
                for path, result in zip(masks[scan.name], results, strict=True):
                    make_writable_folder(path.parent)
                    write_on_grid_of(channels[0], result.mask, path)
            listener.testing(done, len(scans))
    write_text_atomically(inputs_path, inputs)
    return masks


def _mask_path(predictions: Path, scan: AnnotatedScan, output: str) -> Path:
    """Return the path of a mask. Slashes in a scan's name, as in the challenge, become folders."""
    name = Path(scan.name)
    return predictions / name.parent / bids.mask_name(name.name, output)


def _pair(scan: AnnotatedScan, mask: Path, k: int) -> Pair:
    return Pair(
        name=scan.name,
        scan_id=scan.name,
        subject=scan.subject,
        site=scan.site,
        prediction=mask,
        reference=scan.references[k],
    )


def _score_pairs(pairs: list[Pair], folder: Path) -> list[ScoredCase]:
    scores = score(pairs, lambda: None, folder)
    if scores.failed:
        _, error = scores.failed[0]
        raise RecipeError(
            f"{count_noun(len(scores.failed), 'mask')} cannot be scored: {error}", about=folder
        )
    return list(scores.cases)


def _report(
    data: Dataset,
    output: str,
    pairs: list[Pair],
    cases: list[ScoredCase],
    out: Path,
    listener: FoldListener,
) -> Evaluation:
    evaluation = evaluate(cases)
    report = out / report_name(output)
    make_writable_folder(report)
    write_report(
        report,
        evaluation,
        cases,
        {pair.name: pair for pair in pairs},
        {scan.name: scan.channels[0] for scan in data.scans},
        Sources(f"{out}/fold-*/{PREDICTIONS}", data.name, output=output),
        on_warning=listener.warning,
    )
    return evaluation
