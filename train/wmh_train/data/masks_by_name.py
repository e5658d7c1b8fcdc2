"""Find the masks of scans in a folder of another program, by their names.

A mask belongs to a scan if its file name contains the name of the scan, or otherwise if its folders
do:

    sub-1_ses-2           sub-1_ses-2_label-WMH_mask.nii.gz, lst/ples_lpa_msub-1_ses-2_FLAIR.nii
    Amsterdam/GE3T/100    Amsterdam/GE3T/100/wmh.nii.gz

The name must stand apart: `sub-1` is not in `sub-10.nii.gz`, but SPM's prefixes m, r and w may
stand before it. If names of several scans are found, the longest one counts.

A name without letters, such as 17, says less. It must begin the name of the file, or be the only
number in it; or the only number in the name of a folder, if the file has none:

    17                    17_lesions.nii.gz, ples_lpa_m17.nii, subject-17/wmh.nii.gz

The scans themselves are no masks, nor are masks of another visit, run or acquisition, or with the
BIDS label of another tissue.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.dataset.image_formats import image_stem, is_image
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.output_names import WMH, output_of
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.layouts import require_images

_WORD = re.compile(r"[0-9A-Za-z]+")
_PREFIX = re.compile(r"[mrw]{1,3}")  # of SPM: bias-corrected, resliced, normalized
_NUMBER = re.compile(r"[0-9]+")
_SUBJECT = re.compile(r"(?:^|_)sub-[0-9A-Za-z]")
_VISIT = re.compile(
    r"(?:^|[_/])(?:(?:ses|session|visit|timepoint|tp|followup)[-_]?0*([0-9]+)(?![0-9A-Za-z])"
    r"|ses-([0-9A-Za-z]+))",
    re.IGNORECASE,
)
_SHORT_VISIT = re.compile(r"_v0*([0-9]+)(?![0-9A-Za-z])", re.IGNORECASE)  # of masks: a version
_ENTITY = re.compile(r"(?:^|_)(run|acq)-0*([0-9A-Za-z]+)")
_LABEL = re.compile(r"(?:^|_)label-([0-9A-Za-z]+)")
_OTHER_LABELS = {"gm", "wm", "csf", "brain", "ventricles", "cortex", "deepgray", "posterior"}

_NO_SCAN = "with the name of no scan"
_OTHER_VISIT = "of another visit, run or acquisition"
_OTHER_LABEL = "with the label of another tissue"


@dataclass(frozen=True)
class FoundMasks:
    """The masks of a folder."""

    of_scan: Mapping[str, Path]  # by the name of the scan; of those that have one, at least one
    notes: tuple[str, ...]  # about images that are not used


@dataclass(frozen=True)
class MaskedScans:
    """Scans with masks of some folders."""

    scans: tuple[AnnotatedScan, ...]
    notes: tuple[str, ...]  # about images that are not used


def find_masks_of(names: Sequence[str], folder: Path, images: Collection[Path] = ()) -> FoundMasks:
    """Find the mask of each scan that has one.

    Args:
        names: of the scans, each once, at least one.
        folder: searched with its subfolders; hidden files are not.
        images: files that are not masks: the scans.

    Raises:
        InputError: the folder does not exist, no scan has a mask in it, a file may be the mask of
            two scans, or a scan has several masks. If exactly one of them is named
            `…_label-WMH_mask` or `wmh`, that one is taken.
    """
    if not folder.is_dir():
        raise InputError("is not a folder", "Give the folder of the masks.", about=folder)
    scans = {path.resolve() for path in images}
    paths = [path for path in _images(folder) if path.resolve() not in scans]
    relatives = [path.relative_to(folder).as_posix() for path in paths]
    only_visit = _only_visit(names, relatives)
    known = set(names)
    found: defaultdict[str, list[Path]] = defaultdict(list)
    unused: defaultdict[str, list[str]] = defaultdict(list)
    for path, relative in zip(paths, relatives, strict=True):
        name = _owner(known, relative, path)
        reason = _refusal(name, relative, only_visit) if name else _NO_SCAN
        if reason:
            unused[reason].append(relative)
        else:
            found[name].append(path)
    why = "; ".join(
        f"{count_noun(len(own), 'image')} {reason}, such as {own[0]}"
        for reason, own in unused.items()
    )
    if not found:
        raise InputError(
            f"contains no mask with the name of a scan, such as {names[0]}"
            + (f"; not used: {why}" if why else "; the scans themselves are no masks"),
            "Give the folder of the masks, and name them after their scans.",
            about=folder,
        )
    masks = {name: _only_one(name, own, folder) for name, own in sorted(found.items())}
    of_scans = f"{len(masks)} of {count_noun(len(names), 'scan')} have a mask"
    return FoundMasks(masks, (f"{folder}: not used: {why}; {of_scans}",) if why else ())


def label_of(folder: Path) -> str:
    """Return the name by which the masks of a folder are told apart: of a link, its own name."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def with_masks(scans: Sequence[AnnotatedScan], folders: Sequence[Path]) -> MaskedScans:
    """Return the scans that have a mask in a folder, with this mask as their only reference.

    Args:
        scans: with or without masks.
        folders: one or more. With several, a scan comes once for each folder with a mask of it, and
            the name of the folder is added to its name.

    Raises:
        InputError: as `find_masks_of`, or two folders have the same name.
        RecipeError: an image of a scan with a mask is missing.
    """
    labels = [label_of(folder) for folder in folders]
    for label, folder in zip(labels, folders, strict=True):
        if labels.count(label) > 1:
            raise InputError(
                f"has the same name as another folder of masks: {label}",
                "Rename one: the names tell the masks of a scan apart.",
                about=folder,
            )
    images = [path for scan in scans for path in scan.channels]
    masked, notes = list[AnnotatedScan](), list[str]()
    for label, folder in zip(labels, folders, strict=True):
        found = find_masks_of([scan.name for scan in scans], folder, images)
        notes += found.notes
        suffix = f" {label}" if len(folders) > 1 else ""
        masked += [
            replace(scan, name=f"{scan.name}{suffix}", references=(found.of_scan[scan.name],))
            for scan in scans
            if scan.name in found.of_scan
        ]
    require_images(masked)
    return MaskedScans(tuple(sorted(masked, key=lambda scan: scan.name)), tuple(notes))


def _images(folder: Path) -> Iterator[Path]:
    for current, subfolders, files in walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        for name in sorted(files):
            path = current / name
            if not is_hidden(name) and is_image(path):
                yield path


def _owner(names: Collection[str], relative: str, path: Path) -> str:
    """Return the name of the scan that a mask belongs to; empty if there is none."""
    stem, folders = image_stem(path), relative.split("/")[:-1]
    if name := _longest(_names_in(names, stem), path) or _number_in(names, stem):
        return name
    if _SUBJECT.search(stem):
        return ""  # of a subject that is no scan, whatever the folder
    if name := _longest(_names_in(names, relative), path):
        return name
    if _NUMBER.search(stem):
        return ""  # a folder with a number may be that of a rater or a site
    return next((name for folder in reversed(folders) if (name := _number_in(names, folder))), "")


def _names_in(names: Collection[str], text: str) -> set[str]:
    """Return the names with letters that stand apart in a text."""
    words = list(_WORD.finditer(text))
    starts = {word.start() for word in words}
    for start in list(starts):
        if prefix := _PREFIX.match(text, start):
            starts |= {*range(start + 1, prefix.end() + 1)}
    ends = [word.end() for word in words]
    spans = {text[start:end] for start in starts for end in ends if end > start}
    return {name for name in spans if name in names and any(map(str.isalpha, name))}


def _number_in(names: Collection[str], text: str) -> str:
    """Return the name without letters that begins a text or is its only number; or nothing."""
    first = text.partition("_")[0]
    if first in names and not any(map(str.isalpha, first)):
        return first
    numbers = _NUMBER.findall(text)
    return numbers[0] if len(numbers) == 1 and numbers[0] in names else ""


def _longest(names: Collection[str], path: Path) -> str:
    """Return the longest name; InputError if there are several."""
    length = max(map(len, names), default=0)
    first, *others = sorted(name for name in names if len(name) == length) or [""]
    if others:
        problem = f"may be the mask of {first} or of {others[0]}"
        raise InputError(problem, "Name it after one of them.", about=path)
    return first


def _only_visit(names: Iterable[str], relatives: Iterable[str]) -> set[str]:
    """Return the visit of all masks, if there is only one and no scan names any; or nothing."""
    if any(_visits(name) for name in names):
        return set()
    visits = set().union(*map(_visits, relatives))
    return visits if len(visits) == 1 else set()


def _refusal(name: str, relative: str, only_visit: set[str]) -> str:
    """Say why a file with the name of a scan is no mask of it; empty if it is one."""
    file = relative.rsplit("/", maxsplit=1)[-1]
    own = _visits(name) | set(_SHORT_VISIT.findall(name)) or only_visit
    is_other = not _visits(relative) <= own
    if is_other or not set(_ENTITY.findall(file)) <= set(_ENTITY.findall(name)):
        return _OTHER_VISIT
    label = _LABEL.search(file)
    return _OTHER_LABEL if label and label[1].lower() in _OTHER_LABELS else ""


def _visits(text: str) -> set[str]:
    return {(number or label).lower() for number, label in _VISIT.findall(text)}


def _only_one(name: str, paths: list[Path], folder: Path) -> Path:
    if len(paths) == 1:
        return paths[0]
    named = [path for path in paths if output_of(path.name) == WMH]
    if len(named) == 1:
        return named[0]
    first, second = (path.relative_to(folder) for path in paths[:2])
    raise InputError(
        f"has several masks of {name}, such as {first} and {second}",
        "Keep one in the folder, or name it …_label-WMH_mask.nii.gz.",
        about=folder,
    )
