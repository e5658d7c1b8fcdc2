"""Find the masks of scans in a folder of another program, by their names.

A mask belongs to a scan if its file name contains the name of the scan, or otherwise if its folders
do:

    sub-1_ses-2           sub-1_ses-2_label-WMH_mask.nii.gz, lst/ples_lpa_msub-1_ses-2_FLAIR.nii
    Amsterdam/GE3T/100    Amsterdam/GE3T/100/wmh.nii.gz
    17                    17_lesions.nii.gz, 17/wmh.nii.gz

The name must stand apart: `sub-1` is not in `sub-10.nii.gz`, but SPM's prefixes m, r and w may
stand before it. A name without letters must begin the name of the file or be a whole folder: 17 is
not in `3_visit-17.nii.gz`. A mask of another visit, run or acquisition is none of the scan, nor is
one with another BIDS label. If names of several scans are found, the longest one counts. The scans
themselves are no masks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.dataset.image_formats import is_image
from wmh_runtime.errors import InputError, RecipeError
from wmh_runtime.evaluation.output_names import WMH, output_of
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.layouts import require_images

_BEFORE = r"(?:^|[^0-9A-Za-z])(?:[mrw]{1,3})?"
_BEFORE_NUMBER = r"(?:^|/)"
_AFTER = r"(?![0-9A-Za-z])"
# Of a scan, such as ses-2 or visit2: what differs is another scan of the same person.
_VISIT = re.compile(r"(?:^|[_/])(ses|visit)(?:-([0-9A-Za-z]+)|([0-9]+))")
_ENTITY = re.compile(r"(?:^|_)(run|acq)-([0-9A-Za-z]+)")


def find_masks_of(
    names: Iterable[str], folder: Path, images: Collection[Path] = ()
) -> Mapping[str, Path]:
    """Return the mask of each scan that has one, by the name of the scan.

    Args:
        names: of the scans, each once.
        folder: searched with its subfolders; hidden files are not.
        images: files that are not masks: the scans.

    Raises:
        InputError: the folder does not exist, a file may be the mask of two scans, or a scan has
            several masks. If exactly one of them is named `…_label-WMH_mask` or `wmh`, that one is
            taken.
    """
    return _match(names, folder, images)[0]


@dataclass(frozen=True)
class MaskedScans:
    """Scans with masks of some folders."""

    scans: tuple[AnnotatedScan, ...]
    notes: tuple[str, ...]  # about masks that belong to no scan


def with_masks(scans: Sequence[AnnotatedScan], folders: Sequence[Path]) -> MaskedScans:
    """Return the scans that have a mask in a folder, with this mask as their only reference.

    Args:
        scans: with or without masks.
        folders: one or more. With several, a scan comes once for each folder with a mask of it, and
            the name of the folder is added to its name.

    Raises:
        InputError: as `find_masks_of`, or two folders have the same name.
        RecipeError: no scan has a mask in a folder, or an image of a scan with a mask is missing.
    """
    labels = [folder.resolve().name for folder in folders]
    for label, folder in zip(labels, folders, strict=True):
        if labels.count(label) > 1:
            raise InputError(
                f"has the same name as another folder of masks: {label}",
                "Rename one: the names tell the masks of a scan apart.",
                about=folder,
            )
    images = [path for scan in scans for path in scan.channels]
    found, notes = [], []
    for label, folder in zip(labels, folders, strict=True):
        masks, others = _match([scan.name for scan in scans], folder, images)
        if not masks:
            raise RecipeError(
                f"contains no mask with the name of a scan, such as {scans[0].name};"
                " the scans themselves are no masks",
                "Give the folder of the masks, and name them after their scans.",
                about=folder,
            )
        if others:
            notes.append(
                f"{folder}: {count_noun(len(others), 'image')} with the name of no scan, such as"
                f" {others[0].relative_to(folder)}; masks were found for {len(masks)} of"
                f" {count_noun(len(scans), 'scan')}"
            )
        suffix = f" {label}" if len(folders) > 1 else ""
        found += [
            replace(scan, name=f"{scan.name}{suffix}", references=(masks[scan.name],))
            for scan in scans
            if scan.name in masks
        ]
    require_images(found)
    return MaskedScans(tuple(sorted(found, key=lambda scan: scan.name)), tuple(notes))


def _match(
    names: Iterable[str], folder: Path, images: Collection[Path]
) -> tuple[dict[str, Path], list[Path]]:
    """Return the mask of each scan that has one, and the images that belong to no scan."""
    if not folder.is_dir():
        raise InputError("is not a folder", "Give the folder of the masks.", about=folder)
    patterns = {name: _pattern(name) for name in names}
    scans = {path.resolve() for path in images}
    found: defaultdict[str, list[Path]] = defaultdict(list)
    others = []
    for path in _images(folder):
        if path.resolve() in scans:
            continue
        relative = path.relative_to(folder).as_posix()
        name = _name_in(path.name, patterns, path) or _name_in(relative, patterns, path)
        if name and _is_of(name, relative):
            found[name].append(path)
        else:
            others.append(path)
    masks = {name: _only_one(name, paths, folder) for name, paths in sorted(found.items())}
    return masks, others


def _pattern(name: str) -> re.Pattern[str]:
    before = _BEFORE if any(map(str.isalpha, name)) else _BEFORE_NUMBER
    return re.compile(before + re.escape(name) + _AFTER)


def _is_of(name: str, relative: str) -> bool:
    """Say whether a mask with the name of a scan is of the same visit, and of its lesions."""
    own = {*_VISIT.findall(name), *_ENTITY.findall(name)}
    file = relative.rsplit("/", maxsplit=1)[-1]
    others = {*_VISIT.findall(relative), *_ENTITY.findall(file)} - own
    return not others and output_of(file) in (None, WMH)


def _images(folder: Path) -> Iterable[Path]:
    for current, subfolders, files in walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        for name in sorted(files):
            path = current / name
            if not is_hidden(name) and is_image(path):
                yield path


def _name_in(text: str, patterns: Mapping[str, re.Pattern[str]], path: Path) -> str:
    """Return the longest name of a scan in a text; empty if there is none."""
    names = [name for name, pattern in patterns.items() if pattern.search(text)]
    longest = max(map(len, names), default=0)
    first, *others = [name for name in names if len(name) == longest] or [""]
    if others:
        problem = f"may be the mask of {first} or of {others[0]}"
        raise InputError(problem, "Name it after one of them.", about=path)
    return first


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
