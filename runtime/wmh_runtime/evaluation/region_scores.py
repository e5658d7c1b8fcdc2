"""Compare regions of the brain with reference regions: Dice and volumes, for each scan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from wmh_runtime.dataset import bids
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.evaluation.mask_files import find_segmentations
from wmh_runtime.evaluation.pairing import Pair, Pairing, find_region_pairs
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.atlas import read_region_names
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import Reference, reference_from_mask
from wmh_runtime.imageio.volume import Scan, on_grid_of
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.postprocessing.regions import BRAIN

REGION_SCORES_NAME = "region_scores.csv"


@dataclass(frozen=True)
class RegionScore:
    """How well a region of a scan agrees with its reference."""

    case: str
    site: str
    region: str
    dice: float  # 1 if both are empty
    reference_ml: float
    predicted_ml: float


@dataclass
class RegionScores:
    """Results of all scans."""

    scores: list[RegionScore] = field(default_factory=list)
    failed: list[tuple[Pair, WmhError]] = field(default_factory=list)

    def of(self, region: str) -> list[RegionScore]:
        """Return the scores of one region."""
        return [score for score in self.scores if score.region == region]


@dataclass(frozen=True)
class FoundRegions:
    """The regions that can be compared."""

    pairings: dict[str, Pairing]  # by name of the region, in the order of the tables
    only_predicted: tuple[str, ...]  # although there are reference segmentations


def find_regions(predictions: Path, references: Path) -> FoundRegions:
    """Find the regions that both sides have, and the pairs of each.

    Args:
        predictions: output folder of `wmh-infer`, with segmentations of regions.
        references: folder with masks of the regions, such as `*_label-VENTRICLES_mask.nii.gz`, or
            with segmentations and their tables, named as those of `wmh-infer`.

    Raises:
        InputError: names are ambiguous.
    """
    segmentations = find_segmentations(predictions, except_in=references)
    true = find_segmentations(references, except_in=predictions)
    names: dict[str, None] = {}
    for segmentation in segmentations:
        names |= dict.fromkeys(_names_of(segmentation.path) or ())
    pairings = {}
    for name in names:
        found = find_region_pairs(segmentations, true, predictions, references, name)
        pairs = tuple(pair for pair in found.pairs if _may_have(pair.reference, name))
        if pairs:
            pairings[name] = replace(found, pairs=pairs)
    missing = tuple(name for name in names if name not in pairings)
    return FoundRegions(pairings, missing if true else ())


def _names_of(segmentation: Path) -> list[str] | None:
    """Return the names of the regions; None if the table is damaged: the scan will fail, alone."""
    try:
        return list(read_region_names(bids.table_of_image(segmentation)).values())
    except InputError:
        return None


def _may_have(reference: Path, region: str) -> bool:
    """Return whether a reference is a mask, or a segmentation that has the region."""
    if not bids.table_of_image(reference).is_file():
        return True
    names = _names_of(reference)
    return names is None or region in names


def score_regions(
    pairings: Mapping[str, Pairing], on_pair: Callable[[], None], log_folder: Path
) -> RegionScores:
    """Compare all pairs of all regions, scan by scan. If one fails, the others are still compared.

    Args:
        pairings: by name of the region.
        on_pair: called after each pair, to show progress.
        log_folder: for the traceback of an unexpected error.
    """
    result = RegionScores()
    read = lru_cache(maxsize=2)(partial(read_scan, allow_constant=True))  # once for all regions
    pairs = [(pair, region) for region, pairing in pairings.items() for pair in pairing.pairs]
    for pair, region in sorted(pairs, key=lambda one: one[0].name):
        try:
            if (score := _score(pair, region, read)) is not None:
                result.scores.append(score)
        except Exception as error:
            failure = case_failure(error, pair.prediction, log_folder)
            if all(str(failure) != str(other) for _, other in result.failed):  # once for a scan
                result.failed.append((pair, failure))
        on_pair()
    return result


def write_region_scores(path: Path, scores: Sequence[RegionScore]) -> None:
    """Write a table with a row for each scan and region.

    Raises:
        InputError: it cannot be written.
    """
    rows = [
        {
            "case": score.case,
            "site": score.site,
            "region": score.region,
            "dice": f"{score.dice:.4f}",
            "reference_ml": f"{score.reference_ml:.4f}",
            "predicted_ml": f"{score.predicted_ml:.4f}",
        }
        for score in scores
    ]
    write_table_atomically(path, rows)


def _score(pair: Pair, region: str, read: Callable[[Path], Scan]) -> RegionScore | None:
    """Compare a region of a scan; None if the prediction does not have it."""
    image = read(pair.reference)
    found = on_grid_of(read(pair.prediction), image)
    predicted_names = {*read_region_names(bids.table_of_image(pair.prediction)).values()}
    if region not in predicted_names:
        return None
    reference = _read(image, region, predicted_names)
    predicted = _read(found, region, predicted_names).lesion & ~reference.ignored
    voxel_ml = image.voxel_volume_mm3 / 1000
    return RegionScore(
        case=pair.name,
        site=pair.site,
        region=region,
        dice=dice_of_masks(reference.lesion, predicted),
        reference_ml=float(np.count_nonzero(reference.lesion) * voxel_ml),
        predicted_ml=float(np.count_nonzero(predicted) * voxel_ml),
    )


def _read(image: Scan, region: str, predicted_names: Collection[str]) -> Reference:
    """Return a region of a segmentation with a table of names, or a mask of the region.

    The brain is all predicted regions together: what no other one covers has its number.
    """
    table = bids.table_of_image(image.path)
    if not table.is_file():
        return reference_from_mask(image)
    names = predicted_names if region == BRAIN else {region}
    numbers = [number for number, name in read_region_names(table).items() if name in names]
    mask = np.isin(np.rint(image.voxels), numbers)
    return Reference(mask, np.zeros_like(mask))
