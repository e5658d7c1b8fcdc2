"""Pairs of files in, figures of each out: one pair that cannot be compared stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wmh_runtime.errors import WmhError
from wmh_runtime.evaluation.metrics import LESION_FROM, compare_masks
from wmh_runtime.evaluation.pairing import Pair
from wmh_runtime.evaluation.reference_masks import Reference, reference_from_labels
from wmh_runtime.evaluation.statistics import Case
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, require_same_grid
from wmh_runtime.types import Mask


@dataclass(frozen=True)
class Masks:
    """What a pair's files hold."""

    prediction: Mask  # (x, y, z), other pathology not yet removed
    reference: Reference
    grid: Scan  # the reference's file


@dataclass
class Scores:
    """What became of the pairs."""

    cases: list[Case] = field(default_factory=list)
    failed: list[tuple[Pair, WmhError]] = field(default_factory=list)


def score(pairs: Iterable[Pair], on_pair: Callable[[], None]) -> Scores:
    """Compare every pair of masks.

    Args:
        pairs: of files.
        on_pair: called after each pair, for progress.
    """
    scores = Scores()
    for pair in pairs:
        try:
            scores.cases.append(score_pair(pair))
        except WmhError as error:
            scores.failed.append((pair, error))
        on_pair()
    return scores


def score_pair(pair: Pair) -> Case:
    """Compare one pair; InputError where its files cannot be used or lie on different grids."""
    masks = read_masks(pair)
    metrics = compare_masks(masks.prediction, masks.reference, masks.grid.affine)
    return Case(pair.name, pair.person, pair.site, metrics)


def read_masks(pair: Pair) -> Masks:
    """Read a pair's files.

    Raises:
        InputError: one cannot be read, the grids differ, or the reference has a strange label.
    """
    reference = read_scan(pair.reference, allow_constant=True)
    prediction = read_scan(pair.prediction, allow_constant=True)
    require_same_grid(prediction, reference)
    return Masks(prediction.voxels >= LESION_FROM, reference_from_labels(reference), reference)
