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

from wmh_runtime.dataset import bids, challenge
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.image_formats import image_stem, is_image
from wmh_runtime.dataset.subjects import read_sites, subject_from_name
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.output_names import WMH, output_of
from wmh_runtime.files.folders import is_hidden, walk
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


@dataclass(frozen=True)
class _MaskFile:
    """A mask file, with the properties from its name and folder."""

    path: Path
    folder: Path  # relative to the searched folder; "." in the challenge layout
    scan_id: str
    site: str = ""


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
        scan_id = _file_of_scan(scan.path, scan.relative.parent, entities).scan_id
        groups[scan_id].append(scan.path)
    return groups


def _pair_by_name(predictions: Path, references: Path, output: str) -> Pairing:
    if predictions.resolve() == references.resolve():
        advice = "Give two different folders."
        raise InputError("is the folder of predictions and of references", advice, about=references)
    prediction_files = _find_masks(predictions, output, except_in=references)
    reference_files = _find_masks(references, output, except_in=predictions)
    if not reference_files:
        problem = f"contains no reference mask, {bids.mask_name('*', output)} or wmh.nii.gz"
        raise InputError(problem, _USE_A_TABLE, about=references)
    if not prediction_files:
        problem = f"contains no mask named {bids.mask_name('*', output)}"
        raise InputError(problem, f"Give a folder of results. {_USE_A_TABLE}", about=predictions)
    sites = _sites_near(references)
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
    reference: _MaskFile, references: Sequence[_MaskFile], predictions: Sequence[_MaskFile]
) -> _MaskFile | None:
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
    masks = _find_masks(predictions, WMH, except_in=None)
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
    mask = _mask_file(prediction, relative, output_of(relative.name) or WMH) or _MaskFile(
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


def _group_by_scan_id(masks: Iterable[_MaskFile]) -> defaultdict[str, list[_MaskFile]]:
    groups: defaultdict[str, list[_MaskFile]] = defaultdict(list)
    for mask in masks:
        groups[mask.scan_id].append(mask)
    return groups


def _find_masks(folder: Path, output: str, except_in: Path | None) -> list[_MaskFile]:
    """Find the masks of an output in a folder, except those in a given subfolder."""
    masks = []
    for current, subfolders, names in walk(folder, except_for=except_in):
        subfolders[:] = (name for name in subfolders if not is_hidden(name))
        for path in (current / name for name in names if not is_hidden(name)):
            mask = _mask_file(path, path.relative_to(folder), output) if is_image(path) else None
            if mask and path.is_file():
                masks.append(mask)
    return sorted(masks, key=lambda mask: mask.path)


def _mask_file(path: Path, relative: Path, output: str) -> _MaskFile | None:
    """Return the properties of a mask file; None if it is not named like a mask of the output."""
    if output_of(relative.name) != output:
        return None
    stem = image_stem(relative)
    if stem == challenge.REFERENCE_STEM:
        return _file_of_scan(path, relative.parent, challenge.SCAN_STEM)
    ending = image_stem(Path(bids.mask_name("", output)))  # the label in any case
    return _file_of_scan(path, relative.parent, stem[: -len(ending)])


def _file_of_scan(path: Path, folder: Path, entities: str) -> _MaskFile:
    """Return the properties of a file from its folder and the entities in its name."""
    if entities != challenge.SCAN_STEM:
        return _MaskFile(path, folder, entities)
    subject = challenge.subject_folder(folder)
    return _MaskFile(path, Path(), subject.as_posix(), challenge.site_from_folders(subject.parent))
