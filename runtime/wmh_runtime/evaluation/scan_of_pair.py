"""Which scan the masks of a pair are of, to draw the errors on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.evaluation.mask_files import file_of_scan
from wmh_runtime.evaluation.pairing import Pair


def match_scans(
    pairs: Iterable[Pair], scans: Iterable[Case], images: Iterable[Case] = ()
) -> dict[str, Path]:
    """Find the scan of each pair by name.

    If there are several, such as `pre/FLAIR` and `orig/FLAIR`, the scan in a folder with the same
    name as the folder of the prediction is used.

    Args:
        pairs: the predictions and their references.
        scans: the scans of a folder.
        images: all images of the folder. A pair without a scan may belong to one of them, for
            example to `FLAIR_brain`, a processed version.

    Returns:
        Name of the pair → path of its scan. Pairs with no scan, or with several, are not included.
    """
    scans_by_id, images_by_id = _group_scans(scans), _group_scans(images)
    scan_of_pair = {}
    for pair in pairs:
        same_id = scans_by_id[pair.scan_id] or images_by_id[pair.scan_id]
        same_folder = [p for p in same_id if p.parent.name == pair.prediction.parent.name]
        for candidates in (same_id, same_folder):
            if len(candidates) == 1:
                scan_of_pair[pair.name] = candidates[0]
    return scan_of_pair


def _group_scans(scans: Iterable[Case]) -> defaultdict[str, list[Path]]:
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for scan in scans:
        entities = bids.bids_entities(scan.path)
        scan_id = file_of_scan(scan.path, scan.relative.parent, entities).scan_id
        groups[scan_id].append(scan.path)
    return groups
