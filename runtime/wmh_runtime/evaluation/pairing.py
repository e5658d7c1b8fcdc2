"""Pair predicted masks with reference masks.

Terms:

    scan_id      names the scan of a mask: `sub-1` for `sub-1_label-WMH_mask.nii.gz`. In the layout
                 of the WMH challenge it is the folder of the subject: `Utrecht/0` for
                 `Utrecht/0/wmh.nii.gz` and `Utrecht/0/orig/FLAIR_label-WMH_mask.nii.gz`
    prediction   a mask to evaluate
    reference    the mask drawn by raters
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.subjects import read_sites, subject_from_name
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.mask_files import (
    MaskFile,
    find_masks,
    mask_file,
)
from wmh_runtime.evaluation.output_names import WMH, output_of
from wmh_runtime.files.tables import TABLE_SUFFIXES, read_table

_PARENTS_SEARCHED = 2  # for participants.tsv: references may be in DATA/derivatives/reference
_USE_A_TABLE = "Give a table as references, with the columns prediction and reference."


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference."""

    name: str  # unique among the pairs
    scan_id: str
    subject: str
    site: str  # "" if unknown
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class Pairing:
    """The pairs, and the files without a counterpart."""

    pairs: tuple[Pair, ...]
    without_prediction: tuple[Path, ...]  # references; from a table, the missing predictions
    without_reference: tuple[Path, ...]  # predictions


def find_pairs(
    predictions: Path, references: Path, *, output: str = WMH, allow_missing: bool = False
) -> Pairing:
    """Find the prediction for each reference.

    Args:
        predictions: output folder of `wmh-infer`.
        references: a folder, searched with its subfolders, of `*_label-WMH_mask.nii.gz` or of
            `wmh.nii.gz` as in the WMH challenge. Or a table, .csv or .tsv, with the columns
            `prediction` and `reference`, and optionally `subject` and `site`. Its paths are
            relative to the table; predictions may also be relative to their folder.
        output: whose masks are compared; a table names its masks itself. In the layout of the
            challenge there are only references of `wmh`.
        allow_missing: skip references without a prediction.

    Raises:
        InputError: a folder or the table cannot be used, a reference has several possible
            predictions, a reference has no prediction (unless allowed), or there is no pair.
    """
    if not predictions.is_dir():
        raise InputError("is not a folder", "Give the folder of predictions.", about=predictions)
    if references.is_file() and references.suffix.lower() in TABLE_SUFFIXES:
        pairing = _pair_by_table(predictions, references)
    elif references.is_dir():
        pairing = _pair_by_name(predictions, references, output)
    else:
        advice = "Give a folder of reference masks, or a .csv or .tsv table."
        raise InputError("is neither a folder nor a table", advice, about=references)
    if not pairing.pairs and pairing.without_prediction and pairing.without_reference:
        raise _no_pair_error(pairing, predictions, references)
    if pairing.without_prediction and not allow_missing:
        missing = len(pairing.without_prediction)
        raise InputError(
            f"{missing} of {missing + len(pairing.pairs)} references have no prediction, the first"
            f" is {pairing.without_prediction[0]}; partial scores would be biased",
            "Segment the missing scans, or allow missing predictions.",
            about=predictions,
        )
    if not pairing.pairs:
        raise InputError("contains no prediction to compare", _USE_A_TABLE, about=predictions)
    return pairing


def _no_pair_error(pairing: Pairing, predictions: Path, references: Path) -> InputError:
    """Return the error if there are masks on both sides, but none belong together."""
    first = pairing.without_prediction[0], pairing.without_reference[0]
    names = [
        path.relative_to(folder) if path.is_relative_to(folder) else path
        for path, folder in zip(first, (references, predictions), strict=True)
    ]
    problem = (
        f"has no prediction of the same name as a reference; the first reference is {names[0]},"
        f" the first prediction {names[1]}"
    )
    advice = "Give the folders in which both have the same relative path, or a table of pairs."
    return InputError(problem, advice, about=predictions)


def _pair_by_name(predictions: Path, references: Path, output: str) -> Pairing:
    if predictions.resolve() == references.resolve():
        advice = "Give two different folders."
        raise InputError("is the folder of predictions and of references", advice, about=references)
    prediction_files = find_masks(predictions, output, except_in=references)
    reference_files = find_masks(references, output, except_in=predictions)
    if not reference_files:
        problem = f"contains no reference mask, {bids.mask_name('*', output)} or wmh.nii.gz"
        raise InputError(problem, _USE_A_TABLE, about=references)
    if not prediction_files:
        problem = f"contains no mask named {bids.mask_name('*', output)}"
        raise InputError(problem, f"Give a folder of results. {_USE_A_TABLE}", about=predictions)
    return _pair_files(prediction_files, reference_files, _sites_near(references))


def find_region_pairs(
    segmentations: Sequence[MaskFile],
    reference_segmentations: Sequence[MaskFile],
    predictions: Path,
    references: Path,
    region: str,
) -> Pairing:
    """Find the reference of a region for the segmentation of each scan; there may be none.

    Args:
        segmentations: of regions, found in the folder of predictions.
        reference_segmentations: found in the folder of references; for a region without masks.
        predictions: that folder; the folder of references may contain it.
        references: folder that may have masks of the region.
        region: its name, such as `ventricles`.

    Raises:
        InputError: a reference has several possible predictions.
    """
    masks = find_masks(references, region, except_in=predictions)
    true = masks or reference_segmentations
    return _pair_files(segmentations, true, _sites_near(references))


def _pair_files(
    prediction_files: Sequence[MaskFile],
    reference_files: Sequence[MaskFile],
    sites: Mapping[str, str],
) -> Pairing:
    predictions_by_id = _group_by_scan_id(prediction_files)
    references_by_id = _group_by_scan_id(reference_files)
    pairs, without_prediction = [], []
    for reference in reference_files:
        same_id = references_by_id[reference.scan_id]
        prediction = _prediction_for(reference, same_id, predictions_by_id[reference.scan_id])
        if prediction is None:
            without_prediction.append(reference.path)
            continue
        path_name = (reference.folder / reference.scan_id).as_posix()
        name = path_name if len(same_id) > 1 else reference.scan_id
        subject = subject_from_name(name)
        site = sites.get(subject) or reference.site
        pairs.append(Pair(name, reference.scan_id, subject, site, prediction.path, reference.path))
    used = {pair.prediction for pair in pairs}
    without_reference = tuple(mask.path for mask in prediction_files if mask.path not in used)
    return Pairing(tuple(pairs), tuple(without_prediction), without_reference)


def _prediction_for(
    reference: MaskFile, references: Sequence[MaskFile], predictions: Sequence[MaskFile]
) -> MaskFile | None:
    """Return the prediction for a reference; if there are several, the one in the same folder.

    Args:
        reference: the reference to find the prediction for.
        references: all references with its scan_id, including itself.
        predictions: all predictions with its scan_id.

    Raises:
        InputError: more than one prediction or reference is possible.
    """
    other_references = [other for other in references if other is not reference]
    other_folders = {other.folder for other in other_references}
    same_folder = [mask for mask in predictions if mask.folder == reference.folder]
    candidates = same_folder or [mask for mask in predictions if mask.folder not in other_folders]
    is_ambiguous = len(candidates) > 1 or reference.folder in other_folders
    if is_ambiguous or (candidates and not same_folder and other_references):
        others = [mask.path for mask in [*candidates, *other_references]]
        names = ", ".join(str(path) for path in others)
        problem = f"has the same scan name as {names}"
        raise InputError(problem, _USE_A_TABLE, about=reference.path)
    return candidates[0] if candidates else None


def _pair_by_table(predictions: Path, table: Path) -> Pairing:
    rows = read_table(table)
    if not rows or not {"prediction", "reference"} <= rows[0].keys():
        found = f"the columns {', '.join(rows[0])}" if rows else "no rows"
        problem = f"has {found}, expected the columns prediction and reference"
        raise InputError(problem, "Name the columns in the first line.", about=table)
    sites, real = _sites_near(table.parent), _real_paths()
    folder = predictions.resolve()
    pairs: dict[Path, Pair] = {}
    missing = []
    for row in rows:
        if not (row["prediction"] and row["reference"]):
            advice = "Name both files in every row."
            raise InputError("has a row with an empty cell", advice, about=table)
        relative, reference = Path(row["prediction"]), table.parent / row["reference"]
        possible_paths = [table.parent / relative, predictions / relative]
        prediction = next((path for path in possible_paths if path.is_file()), possible_paths[0])
        if prediction in pairs:
            problem = f"names {row['prediction']} twice"
            raise InputError(problem, "Name every prediction once.", about=table)
        if not reference.is_file():
            problem = f"names the reference {row['reference']}, which does not exist"
            raise InputError(problem, "Give paths relative to the table.", about=table)
        if not prediction.is_file():
            missing.append(prediction)
            continue
        within = relative
        if real(prediction).is_relative_to(folder):
            within = real(prediction).relative_to(folder)
        pairs[prediction] = _pair_of_row(row, prediction, within, reference, sites)
    used = {real(path) for pair in pairs.values() for path in (pair.prediction, pair.reference)}
    masks = find_masks(predictions, WMH, except_in=None)
    without_reference = tuple(mask.path for mask in masks if real(mask.path) not in used)
    return Pairing(_with_unique_names(pairs.values()), tuple(missing), without_reference)


def _pair_of_row(
    row: Mapping[str, str],
    prediction: Path,
    relative: Path,
    reference: Path,
    sites: Mapping[str, str],
) -> Pair:
    """Return the pair of a row of a table.

    Args:
        row: with the column `site`, that is the site; without it, names tell the site.
        prediction: the mask to evaluate.
        relative: its path relative to the folder of predictions, or to the table.
        reference: the reference mask.
        sites: site of each subject, from `participants.tsv`.
    """
    mask = mask_file(prediction, relative, output_of(relative.name) or WMH) or MaskFile(
        prediction, relative.parent, bids.bids_entities(relative)
    )
    name = (mask.folder / mask.scan_id).as_posix()
    subject = row.get("subject") or subject_from_name(name)
    site = row["site"] if "site" in row else sites.get(subject) or mask.site
    return Pair(name, mask.scan_id, subject, site, prediction, reference)


def _with_unique_names(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs; those of one name get the paths of their predictions as names."""
    pairs = tuple(pairs)
    counts = Counter(pair.name for pair in pairs)
    return tuple(
        pair if counts[pair.name] == 1 else replace(pair, name=pair.prediction.as_posix())
        for pair in pairs
    )


def _sites_near(folder: Path) -> dict[str, str]:
    real = folder.resolve()
    return read_sites([real, *real.parents[:_PARENTS_SEARCHED]])


def _real_paths() -> Callable[[Path], Path]:
    """Return a function that resolves the folder of a file, each folder once."""
    resolve = cache(Path.resolve)
    return lambda path: resolve(path.parent) / path.name


def _group_by_scan_id(masks: Iterable[MaskFile]) -> defaultdict[str, list[MaskFile]]:
    groups: defaultdict[str, list[MaskFile]] = defaultdict(list)
    for mask in masks:
        groups[mask.scan_id].append(mask)
    return groups
