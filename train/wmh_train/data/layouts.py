"""Where the files of annotated scans lie: a BIDS folder, the WMH challenge's, or a table.

    NAME_FLAIR.nii.gz                              flat, as `wmh-phantom` writes
    sub-1/[ses-2/]anat/sub-1[_ses-2]_FLAIR.nii.gz  BIDS
    derivatives/**/NAME…_label-WMH…_mask.nii.gz    the masks of both
    [training/][SITE/…/]SUBJECT/pre/FLAIR.nii.gz   WMH challenge, bias-corrected as it is given
    [training/][SITE/…/]SUBJECT/wmh.nii.gz         its masks
    anything.csv                                   a table, see `table.py`

Which it is, is found by looking. Hidden files, and so those never finished, are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.subjects import person_of, read_sites, site_of
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.folders import walk
from wmh_runtime.imageio.nifti_reader import is_ours
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan, DataSet
from wmh_train.data.table import scans_of_table

_LOOKED_FOR = "NAME_{0}.nii.gz, sub-*/[ses-*/]anat/*_{0}.nii.gz or [SITE/]SUBJECT/pre/{1}.nii.gz"
_USE_A_TABLE = "Say which file is which in a .csv table."


def find_data(data: Path, channels: Sequence[str], outputs: Sequence[str]) -> DataSet:
    """Find the annotated scans of a folder or a table, in the order of their names.

    A scan that lacks a mask is passed over; one that has its masks but lacks a channel is not.

    Args:
        data: a folder, or a .csv or .tsv table.
        channels: of the recipe, `flair` for instance; the first one's files decide what is a scan.
        outputs: of the recipe, `wmh` for instance.

    Raises:
        RecipeError: there is no annotated scan, a file of one is missing, or two may be meant.
        InputError: a table cannot be read.
    """
    notes: list[str] = []
    if data.is_file():
        scans, notes = scans_of_table(data, channels, outputs)
    elif data.is_dir():
        scans = _find_bids(data, channels, outputs) or _find_challenge(data, channels, outputs)
    else:
        raise RecipeError("does not exist", "Give a folder of scans or a table.", about=data)
    scans = sorted(scans, key=lambda scan: scan.name)
    for before, scan in pairwise(scans):
        if scan.name == before.name:
            raise _two_files(data, f"the scan {scan.name}", before.channels[0], scan.channels[0])
    annotated = [scan for scan in scans if all(path.is_file() for path in scan.references)]
    if not annotated:
        raise _nothing_annotated(data, scans, channels[0])
    for scan in annotated:
        for path in scan.channels:
            if not path.is_file():
                raise RecipeError("is missing", f"{scan.name} needs it.", about=path)
    names = {scan.name for scan in annotated}
    unannotated = tuple(scan.name for scan in scans if scan.name not in names)
    return DataSet(_own_name(data), tuple(annotated), unannotated, tuple(notes))


def _find_bids(data: Path, channels: Sequence[str], outputs: Sequence[str]) -> list[AnnotatedScan]:
    places = ("*", "sub-*/anat/*", "sub-*/ses-*/anat/*")
    found = [
        (entities, path)
        for path in _visible(data, *places)
        if (entities := bids.entities_of_channel(path, channels[0])) is not None
    ]
    if not found:
        return []
    names = sorted({name for name, _ in found})
    masks = [_bids_masks(data, output, names) for output in outputs]
    sites = read_sites([data])
    return [
        AnnotatedScan(
            name=name,
            person=(person := person_of(name)),
            site=sites.get(person, ""),
            channels=(
                path,
                *(_plain(path.with_name(bids.scan_name(name, other))) for other in channels[1:]),
            ),
            references=tuple(
                masks_of.get(name, data / bids.REFERENCES / bids.mask_name(name, output))
                for output, masks_of in zip(outputs, masks, strict=True)
            ),
        )
        for name, path in found
    ]


def _is_result(path: Path) -> bool:
    """Say whether a mask is our own, with its record beside it: nobody to learn from."""
    return (path.parent / f"{bids.nifti_stem(path)}.json").exists() and is_ours(path)


def _bids_masks(data: Path, output: str, names: Sequence[str]) -> dict[str, Path]:
    """Find the mask of each scan, by its name, below `derivatives`.

    A mask says all that its scan's name says, and perhaps more. Where that is true of two scans,
    `sub-1` and `sub-1_run-2`, it belongs to the one that says more.
    """
    entities = {name: bids.split_entities(name) for name in names}
    masks: dict[str, Path] = {}
    for path in _visible(data, f"{bids.DERIVATIVES}/**/*"):
        if not bids.is_mask_of(path, output) or _is_result(path):
            continue
        said = bids.split_entities(bids.nifti_stem(path))
        owners = [name for name in names if entities[name] <= said]
        most = max((len(entities[name]) for name in owners), default=0)
        for name in owners:
            if len(entities[name]) < most:
                continue
            if name in masks:
                raise _two_files(data, f"the mask of {name}", masks[name], path)
            masks[name] = path
    return masks


def _find_challenge(
    data: Path, channels: Sequence[str], outputs: Sequence[str]
) -> list[AnnotatedScan]:
    scans = []
    for folder in _visible_folders(data):
        place = folder.relative_to(data)
        subject = place.parent
        if place.name != "pre" or not subject.name:
            continue
        for path in sorted(folder.glob(f"{channels[0].upper()}.nii*")):
            if not bids.is_nifti(path):
                continue
            others = (folder / f"{other.upper()}.nii.gz" for other in channels[1:])
            masks = (folder.parent / f"{output}.nii.gz" for output in outputs)
            scans.append(
                AnnotatedScan(
                    name=subject.as_posix(),
                    person=subject.as_posix(),
                    site=site_of(subject.parent) or data.resolve().name,
                    channels=(path, *map(_plain, others)),
                    references=tuple(map(_plain, masks)),
                )
            )
    return scans


def _visible_folders(data: Path) -> Iterator[Path]:
    """Walk all folders, in order, but for hidden ones."""
    for place, subfolders, _ in walk(data):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield place


def _visible(data: Path, *patterns: str) -> Iterator[Path]:
    """Find what matches, in order, without what is hidden or lies in a hidden folder."""
    for pattern in patterns:
        for path in sorted(data.glob(pattern)):
            if not any(part.startswith(".") for part in path.relative_to(data).parts):
                yield path


def _plain(gzipped: Path) -> Path:
    """Return `x.nii` where that is there and `x.nii.gz` is not."""
    plain = gzipped.with_suffix("")
    return plain if plain.is_file() and not gzipped.is_file() else gzipped


def _own_name(data: Path) -> str:
    """Return what a data set calls itself: its BIDS name, or else its folder's or table's."""
    try:
        return str(json.loads((data / bids.DESCRIPTION_NAME).read_text(encoding="utf-8"))["Name"])
    except (OSError, ValueError, KeyError, TypeError):
        return data.resolve().name


def _two_files(data: Path, what: str, first: Path, second: Path) -> RecipeError:
    either = " or ".join(path.relative_to(data).as_posix() for path in (first, second))
    return RecipeError(f"{what} may be {either}", _USE_A_TABLE, about=data)


def _nothing_annotated(data: Path, scans: Sequence[AnnotatedScan], channel: str) -> RecipeError:
    if scans:
        missing = next(path for path in scans[0].references if not path.is_file())
        return RecipeError(
            f"none of {count_noun(len(scans), 'scan')} has its masks; {scans[0].name} lacks"
            f" {missing.name}",
            "Add the masks.",
            about=data,
        )
    suffix = bids.scan_name("", channel).removeprefix("_").removesuffix(".nii.gz")
    return RecipeError(
        f"holds no scan; looked for {_LOOKED_FOR.format(suffix, channel.upper())}",
        "Make some with wmh-phantom, or give a .csv table of the files.",
        about=data,
    )
