"""Cross-validation: every scan is segmented once by a network that never saw it.

out/
├── cache/            prepared slices, shared by the folds
├── fold-1/ …         a calibrated checkpoint each, see fit.py, and the masks of its test scans
└── report-wmh/       how good all masks are, for each output
"""

from __future__ import annotations

from pathlib import Path

from wmh_runtime.bundle.manifest import Calibration
from wmh_runtime.dataset import bids
from wmh_runtime.errors import RecipeError
from wmh_runtime.evaluation.pairing import Pair
from wmh_runtime.evaluation.report.summary import Sources
from wmh_runtime.evaluation.report.writer import write_report
from wmh_runtime.evaluation.scoring import score
from wmh_runtime.evaluation.statistics import Case, Evaluation, evaluate
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_train.calibration.calibrate import calibrate_checkpoint
from wmh_train.checkpoint import base_file, load_facts, load_network
from wmh_train.data.annotated import AnnotatedScan, DataSet
from wmh_train.data.cache import scan_key
from wmh_train.data.split import fold_splits
from wmh_train.loop.distributed import place, require_one_process
from wmh_train.loop.fit import CACHE_NAME, FitData, FitListener, fit
from wmh_train.model.base import Base
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend

PREDICTIONS = "predictions"
_STAMP = "made_by.json"  # which checkpoint made all of the masks beside it, from which scans


class _Stamp(StrictModel):
    """What decides a fold's masks."""

    weights_sha256: str
    outputs: list[Output]
    scan_keys: dict[str, str]


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

    def compared(self, output: str, cases: list[Case]) -> None:
        """A fold's test scans are segmented and compared; each output in turn."""

    def warning(self, line: str) -> None:
        """Something is worth knowing."""


def cross_validate(
    recipe: Recipe,
    data: DataSet,
    folds: int,
    out: Path,
    base: Base | None,
    listener: FoldListener,
    *,
    cache: Path | None = None,
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
        cache: folder of prepared slices; None keeps them in `out`.

    Returns:
        For each output the evaluation over all scans, which `report-…` shows.

    Raises:
        RecipeError: the data do not fit the recipe, `out` holds something else, or there are
            several processes.
        InputError: a scan cannot be read, or `out` not be written to.
    """
    require_one_process("cross-validation")
    splits = fold_splits(data.scans, folds, recipe.data, recipe.schedule.seed)
    by_name = {scan.name: scan for scan in data.scans}
    pairs: dict[str, list[Pair]] = {output: [] for output in recipe.outputs}
    cases: dict[str, list[Case]] = {output: [] for output in recipe.outputs}
    for number, split in enumerate(splits, start=1):
        folder = out / f"fold-{number}"
        fit(
            recipe,
            FitData(data.name, data.scans, split),
            folder,
            base,
            listener.fold(number, folds),
            cache=cache or out / CACHE_NAME,
        )
        _calibrate(folder, data.scans, base, listener)
        tested = [by_name[name] for name in split.test]
        masks = _predict(tested, folder, base, listener)
        for k, output in enumerate(recipe.outputs):
            new = [_pair(scan, masks[scan.name][k], k) for scan in tested]
            pairs[output] += new
            compared = _compare(new, folder)
            cases[output] += compared
            listener.compared(output, compared)
    return {
        output: _report(data, output, pairs[output], cases[output], out, listener)
        for output in recipe.outputs
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
        calibration = calibrate_checkpoint(folder, scans, base_file(facts, base), one_more)
    listener.calibrated(calibration)


def _predict(
    scans: list[AnnotatedScan], folder: Path, base: Base | None, listener: FoldListener
) -> dict[str, list[Path]]:
    """Write the masks of a fold's test scans, unless this very checkpoint has done so before.

    Returns:
        Scan's name → its masks, one for each output.
    """
    facts = load_facts(folder)
    assert facts.calibration is not None
    outputs = facts.calibration.outputs
    masks = {
        scan.name: [_mask_path(folder / PREDICTIONS, scan, output.name) for output in outputs]
        for scan in scans
    }
    stamp = folder / PREDICTIONS / _STAMP
    made_by = _Stamp(
        weights_sha256=facts.weights_sha256,
        outputs=outputs,
        scan_keys={scan.name: scan_key(scan, facts.recipe.preprocessing) for scan in scans},
    ).model_dump_json(indent=2)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_by:
        return masks
    network = place(load_network(folder, facts, base_file(facts, base)))
    with TorchBackend(network, facts.recipe) as backend:
        segmenter = Segmenter(facts.recipe.preprocessing, outputs, backend)
        for done, scan in enumerate(scans, start=1):
            channels, _ = scan.load()
            results = segmenter.segment(*channels).results
            for path, result in zip(masks[scan.name], results, strict=True):
                make_writable_folder(path.parent)
                write_on_grid_of(channels[0], result.lesions.mask, path)
            listener.testing(done, len(scans))
    write_text_atomically(stamp, made_by)
    return masks


def _mask_path(predictions: Path, scan: AnnotatedScan, output: str) -> Path:
    """Name a scan's mask; a name with slashes, of the challenge, becomes folders."""
    name = Path(scan.name)
    return predictions / name.parent / bids.mask_name(name.name, output)


def _pair(scan: AnnotatedScan, mask: Path, k: int) -> Pair:
    return Pair(
        name=scan.name,
        subject=scan.name,
        person=scan.person,
        site=scan.site,
        prediction=mask,
        reference=scan.references[k],
    )


def _compare(pairs: list[Pair], folder: Path) -> list[Case]:
    scores = score(pairs, on_pair=lambda: None)
    if scores.failed:
        _, error = scores.failed[0]
        raise RecipeError(
            f"{count_noun(len(scores.failed), 'mask')} cannot be compared: {error}", about=folder
        )
    return list(scores.cases)


def _report(
    data: DataSet,
    output: str,
    pairs: list[Pair],
    cases: list[Case],
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
        Sources(f"{out}/fold-*/{PREDICTIONS}", data.name, ()),
        on_warning=listener.warning,
    )
    return evaluation
