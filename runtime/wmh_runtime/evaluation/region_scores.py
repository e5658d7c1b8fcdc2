"""Compare regions of the brain with reference regions: Dice and volumes, for each scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from wmh_runtime.errors import WmhError
from wmh_runtime.evaluation.mask_files import find_segmentations, table_of_segmentation
from wmh_runtime.evaluation.pairing import Pair, find_region_pairs
from wmh_runtime.evaluation.reference_masks import Reference, reference_from_mask
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.atlas import read_region_names
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, on_grid_of
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.postprocessing.regions import BRAIN

REGION_SCORES_NAME = "regions.csv"


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


def find_regions(predictions: Path, references: Path) -> dict[str, tuple[Pair, ...]]:
    """Find the regions that both sides have, and the pairs of each.

    Args:
        predictions: output folder of `wmh-infer`, with segmentations of regions.
        references: folder with masks of the regions, such as `*_label-VENTRICLES_mask.nii.gz`, or
            with segmentations and their tables, named as those of `wmh-infer`.

    Raises:
        InputError: a table cannot be read, or names are ambiguous.
    """
    segmentations = find_segmentations(predictions, except_in=references)
    names: dict[str, None] = {}  # in the order of the tables
    for segmentation in segmentations:
        names |= dict.fromkeys(read_region_names(table_of_segmentation(segmentation.path)).values())
    pairs = {
        name: find_region_pairs(segmentations, predictions, references, name).pairs
        for name in names
    }
    return {name: of_region for name, of_region in pairs.items() if of_region}


def score_regions(
    regions: dict[str, tuple[Pair, ...]], on_pair: Callable[[], None], log_folder: Path
) -> RegionScores:
    """Compare all pairs of all regions, scan by scan. If one fails, the others are still compared.

    Args:
        regions: pairs by name of the region.
        on_pair: called after each pair, to show progress.
        log_folder: for the traceback of an unexpected error.
    """
    result = RegionScores()
    read = lru_cache(maxsize=2)(partial(read_scan, allow_constant=True))  # once for all regions
    pairs = [(pair, region) for region, of_region in regions.items() for pair in of_region]
    for pair, region in sorted(pairs, key=lambda one: one[0].name):
        try:
            if (score := _score(pair, region, read)) is not None:
                result.scores.append(score)
        except Exception as error:
            result.failed.append((pair, case_failure(error, pair.prediction, log_folder)))
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
    """Compare a region of a scan; None if one of the segmentations does not have it."""
    image = read(pair.reference)
    found = on_grid_of(read(pair.prediction), image)
    reference, prediction = _read(image, region), _read(found, region)
    if reference is None or prediction is None:
        return None
    predicted = prediction.lesion & ~reference.ignored
    voxel_ml = image.voxel_volume_mm3 / 1000
    return RegionScore(
        case=pair.name,
        site=pair.site,
        region=region,
        dice=dice_of_masks(reference.lesion, predicted),
        reference_ml=float(np.count_nonzero(reference.lesion) * voxel_ml),
        predicted_ml=float(np.count_nonzero(predicted) * voxel_ml),
    )


def _read(image: Scan, region: str) -> Reference | None:
    """Return a region of a segmentation with a table of names, or a mask of the region.

    The brain is all of a segmentation: what no other region covers has its number.
    """
    table = table_of_segmentation(image.path)
    if not table.is_file():
        return reference_from_mask(image)
    numbers = [number for number, name in read_region_names(table).items() if name == region]
    if not numbers:
        return None
    mask = image.voxels > 0 if region == BRAIN else np.isin(np.rint(image.voxels), numbers)
    return Reference(mask, np.zeros_like(mask))
