"""Which mask is judged by which reference.

Words used here:

    subject  what a mask's name says it is of: `sub-1` of `sub-1_label-WMH_mask.nii.gz`; in the
             layout of the WMH challenge the folder, `Utrecht/0` of `Utrecht/0/wmh.nii.gz` and of
             `Utrecht/0/pre/FLAIR_label-WMH_mask.nii.gz`
    spare    a prediction that no reference is for
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.subjects import person_of, read_sites, site_of
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import walk
from wmh_runtime.files.tables import TABLE_SUFFIXES, read_table

_MASK_ENDING = bids.nifti_stem(Path(bids.mask_name("", "wmh")))
_CHALLENGE_REFERENCE = "wmh"
_CHALLENGE_SCAN = "FLAIR"
_FOLDERS_ABOVE = 2  # of references, which may lie in DATA/derivatives/reference
_CHALLENGE_FOLDERS = ("pre", "orig")  # of a subject: its scans before and after bias correction
_USE_A_TABLE = "Give a table as references, with the columns prediction and reference."


@dataclass(frozen=True)
class Pair:
    """A prediction and the reference it is judged by."""

    name: str  # unique among the pairs
    subject: str
    person: str
    site: str  # "" where nothing says it
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class Pairing:
    """What belongs together, and what is alone."""

    pairs: tuple[Pair, ...]
    missing: tuple[Path, ...]  # predictions named in a table, or else references without one
    spare: tuple[Path, ...]  # predictions


@dataclass(frozen=True)
class _Named:
    """A file, and what its place and name say it is of."""

    path: Path
    folder: Path  # below the one that was searched; "." in the challenge's layout
    subject: str
    site: str = ""


def find_pairs(predictions: Path, references: Path, *, allow_missing: bool = False) -> Pairing:
    """Find the prediction of every reference.

    Args:
        predictions: folder, as `wmh-infer` writes it.
        references: folder of `*_label-WMH_mask.nii.gz`, as deep as may be, or of the challenge's
            `wmh.nii.gz`; or a table, .csv or .tsv, with the columns `prediction`, `reference`
            and perhaps `person` and `site`, and paths relative to it; predictions may also be
            given relative to their folder.
        allow_missing: pass over references without a prediction.

    Raises:
        InputError: a folder or the table cannot be used, a reference fits more than one
            prediction, or none and that is not allowed, or nothing is left to compare.
    """
    if not predictions.is_dir():
        raise InputError("is no folder", "Give the folder of predictions.", about=predictions)
    if references.is_file() and references.suffix.lower() in TABLE_SUFFIXES:
        pairing = _pairs_of_table(predictions, references)
    elif references.is_dir():
        pairing = _pairs_of_folders(predictions, references)
    else:
        advice = "Give a folder of reference masks, or a table, .csv or .tsv."
        raise InputError("is neither a folder nor a table", advice, about=references)
    if pairing.missing and not allow_missing:
        total = len(pairing.missing) + len(pairing.pairs)
        raise InputError(
            f"no prediction for {len(pairing.missing)} of {total} references,"
            f" {pairing.missing[0]} first: the scores of some would flatter",
            "Segment the missing scans, or give --allow-missing.",
            about=predictions,
        )
    if not pairing.pairs:
        raise InputError("holds no prediction to compare", _USE_A_TABLE, about=predictions)
    return pairing


def match_scans(pairs: Iterable[Pair], scans: Iterable[Case]) -> dict[str, Path]:
    """Find the scans of pairs by their names.

    Where several fit, as `pre/FLAIR` and `orig/FLAIR`, that in a folder named as the prediction's
    is taken.

    Returns:
        Pair's name → path; pairs without a scan, or with several, are left out.
    """
    by_subject: dict[str, list[Path]] = defaultdict(list)
    for scan in scans:
        named = _named_by_scan(scan.path, scan.relative.parent, bids.bids_entities(scan.path))
        by_subject[named.subject].append(scan.path)
    found = {}
    for pair in pairs:
        fitting = by_subject[pair.subject]
        here = [path for path in fitting if path.parent.name == pair.prediction.parent.name]
        for candidates in (fitting, here):
            if len(candidates) == 1:
                found[pair.name] = candidates[0]
    return found


def _pairs_of_folders(predictions: Path, references: Path) -> Pairing:
    if predictions.resolve() == references.resolve():
        advice = "Give two folders."
        raise InputError("is given for predictions and references", advice, about=references)
    judged = _masks_below(predictions, apart_from=references)
    judges = _masks_below(references, apart_from=predictions)
    if not judges:
        problem = f"holds no reference mask, *{_MASK_ENDING}.nii.gz or wmh.nii.gz"
        raise InputError(problem, _USE_A_TABLE, about=references)
    real = references.resolve()
    sites = read_sites([real, *real.parents[:_FOLDERS_ABOVE]])
    judged_of, judges_of = _by_subject(judged), _by_subject(judges)
    pairs, missing = [], []
    for reference in judges:
        rivals = judges_of[reference.subject]
        prediction = _prediction_for(reference, rivals, judged_of[reference.subject])
        if prediction is None:
            missing.append(reference.path)
            continue
        in_folder = (reference.folder / reference.subject).as_posix()
        name = in_folder if len(rivals) > 1 else reference.subject
        person = person_of(name)
        site = sites.get(person) or reference.site
        pairs.append(Pair(name, reference.subject, person, site, prediction.path, reference.path))
    used = {pair.prediction for pair in pairs}
    spare = tuple(mask.path for mask in judged if mask.path not in used)
    return Pairing(tuple(pairs), tuple(missing), spare)


def _prediction_for(
    reference: _Named, rivals: Sequence[_Named], fitting: Sequence[_Named]
) -> _Named | None:
    """Return the prediction of the reference's subject; of several, that in the same folder.

    Args:
        reference: whose prediction is looked for.
        rivals: the references of its subject, itself included.
        fitting: the predictions of its subject.

    Raises:
        InputError: it is not clear which, or for which of the references.
    """
    here = [mask for mask in fitting if mask.folder == reference.folder]
    of_rivals = {rival.folder for rival in rivals if rival is not reference}
    candidates = here or [mask for mask in fitting if mask.folder not in of_rivals]
    several = len(candidates) > 1 or reference.folder in of_rivals
    if several or (candidates and not here and len(rivals) > 1):
        others = [mask.path for mask in candidates] + [r.path for r in rivals if r is not reference]
        names = ", ".join(str(path) for path in others)
        raise InputError(f"is of the same subject as {names}", _USE_A_TABLE, about=reference.path)
    return candidates[0] if candidates else None


def _pairs_of_table(predictions: Path, table: Path) -> Pairing:
    rows = read_table(table)
    if not rows or not {"prediction", "reference"} <= rows[0].keys():
        problem = "is no table with a row and the columns prediction and reference"
        problem += f", but {', '.join(rows[0])}" if rows else ""
        raise InputError(problem, "Name the columns in its first line.", about=table)
    pairs: dict[Path, Pair] = {}
    missing = []
    for row in rows:
        if not (row["prediction"] and row["reference"]):
            advice = "Name both files in every row."
            raise InputError("has a row with an empty cell", advice, about=table)
        written, reference = Path(row["prediction"]), table.parent / row["reference"]
        places = [table.parent / written, predictions / written]
        prediction = next((place for place in places if place.is_file()), places[0])
        if prediction in pairs:
            problem = f"names {row['prediction']} twice"
            raise InputError(problem, "Name every prediction once.", about=table)
        if not reference.is_file():
            problem = f"names the reference {row['reference']}, which does not exist"
            raise InputError(problem, "Paths are relative to the table.", about=table)
        if not prediction.is_file():
            missing.append(prediction)
            continue
        named = _named(prediction, written) or _Named(
            prediction, written.parent, bids.bids_entities(written)
        )
        name = (named.folder / named.subject).as_posix()
        person, site = row.get("person") or person_of(name), row.get("site", "")
        pairs[prediction] = Pair(name, named.subject, person, site, prediction, reference)
    used = {path.resolve() for pair in pairs.values() for path in (pair.prediction, pair.reference)}
    masks = _masks_below(predictions, apart_from=None)
    spare = tuple(mask.path for mask in masks if mask.path.resolve() not in used)
    return Pairing(tuple(pairs.values()), tuple(missing), spare)


def _by_subject(masks: Iterable[_Named]) -> defaultdict[str, list[_Named]]:
    groups: defaultdict[str, list[_Named]] = defaultdict(list)
    for mask in masks:
        groups[mask.subject].append(mask)
    return groups


def _masks_below(folder: Path, apart_from: Path | None) -> list[_Named]:
    """Find the masks of a folder, without those of another folder that lies in it."""
    other = apart_from.resolve() if apart_from else None
    skipped = other if other and other.is_relative_to(folder.resolve()) else None
    masks = []
    for place, subfolders, names in walk(folder):
        if skipped and place.resolve().is_relative_to(skipped):
            subfolders.clear()
            continue
        subfolders[:] = (name for name in subfolders if not _is_hidden(name))
        for path in (place / name for name in names if not _is_hidden(name)):
            named = _named(path, path.relative_to(folder)) if bids.is_nifti(path) else None
            if named and path.is_file():
                masks.append(named)
    return sorted(masks, key=lambda mask: mask.path)


def _is_hidden(name: str) -> bool:  # or never finished
    return name.startswith(".")


def _named(path: Path, relative: Path) -> _Named | None:
    """Say what a mask is of; None where its name is not that of a WMH mask."""
    stem = bids.nifti_stem(relative)
    if stem == _CHALLENGE_REFERENCE:
        return _named_by_scan(path, relative.parent, _CHALLENGE_SCAN)
    if not stem.endswith(_MASK_ENDING):
        return None
    return _named_by_scan(path, relative.parent, stem.removesuffix(_MASK_ENDING))


def _named_by_scan(path: Path, folder: Path, entities: str) -> _Named:
    if entities != _CHALLENGE_SCAN:
        return _Named(path, folder, entities)
    subject = folder.parent if folder.name in _CHALLENGE_FOLDERS else folder
    return _Named(path, Path(), subject.as_posix(), site_of(subject.parent))
