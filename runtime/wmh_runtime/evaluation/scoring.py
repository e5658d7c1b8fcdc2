"""Compute the metrics of pairs of files. If one pair fails, the others are still compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.evaluation.metrics import LESION_THRESHOLD, compare_masks
from wmh_runtime.evaluation.pairing import Pair
from wmh_runtime.evaluation.statistics import ScoredCase
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.imageio.label_map import find_labels
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import Reference, reference_from_mask
from wmh_runtime.imageio.volume import Scan, on_grid_of
from wmh_runtime.types import Mask

_ROUNDING = 1e-3  # of interpolated probabilities


@dataclass(frozen=True)
class Masks:
    """The content of the files of a pair."""

    prediction: Mask  # (x, y, z), before other pathology is removed
    reference: Reference
    grid: Scan  # of the reference file


@dataclass
class Scores:
    """Results of the pairs."""

    cases: list[ScoredCase] = field(default_factory=list)
    failed: list[tuple[Pair, WmhError]] = field(default_factory=list)


def score(pairs: Iterable[Pair], on_pair: Callable[[], None], log_folder: Path) -> Scores:
    """Compare every pair of masks.

    Args:
        pairs: pairs of files.
        on_pair: called after each pair, to show progress.
        log_folder: for the traceback of an unexpected error.
    """
    scores = Scores()
    for pair in pairs:
        try:
            scores.cases.append(score_pair(pair))
        except Exception as error:
            scores.failed.append((pair, case_failure(error, pair.prediction, log_folder)))
        on_pair()
    return scores


def score_pair(pair: Pair) -> ScoredCase:
    """Compare one pair; raise InputError if a file cannot be used or the grids differ."""
    masks = read_masks(pair)
    metrics = compare_masks(masks.prediction, masks.reference, masks.grid.affine)
    return ScoredCase(pair.name, pair.subject, pair.site, metrics)


def read_masks(pair: Pair) -> Masks:
    """Read the files of a pair; both are in the order of voxels of the reference.

    Raises:
        InputError: a file cannot be read, the grids differ, or one has other values than a mask.
    """
    reference = read_scan(pair.reference, allow_constant=True)
    prediction = on_grid_of(read_scan(pair.prediction, allow_constant=True), reference)
    _require_mask(prediction)
    return Masks(prediction.voxels >= LESION_THRESHOLD, reference_from_mask(reference), reference)


def _require_mask(prediction: Scan) -> None:
    """Refuse an image that is neither a mask nor a probability map, such as a scan."""
    lowest, highest = float(prediction.voxels.min()), float(prediction.voxels.max())
    if lowest < 0 or highest > 1 + _ROUNDING:
        if find_labels(prediction.voxels) is not None:
            return
        problem = f"is not a mask: it has values from {lowest:g} to {highest:g}"
        advice = "Give a mask, or a probability map with values from 0 to 1."
        raise InputError(problem, advice, about=prediction.path)
