"""Find annotated scans in a BIDS folder, a WMH challenge folder or a table.

    NAME_FLAIR.nii.gz                              flat folder, as `wmh-phantom` writes it
    sub-1/[ses-2/]anat/sub-1[_ses-2]_FLAIR.nii.gz  BIDS
    derivatives/**/NAME…_label-WMH…_mask.nii.gz    masks of both
    [training/][SITE/…/]SUBJECT/pre/FLAIR.nii.gz   WMH challenge, the bias-corrected scans
    [training/][SITE/…/]SUBJECT/wmh.nii.gz         masks of the challenge
    NAME.csv                                       table, see `table.py`

The layout is detected. As in `wmh-infer`, masks, images that were registered to a FLAIR scan and
processed versions of a scan are not scans, unless they have a mask of their own. Hidden files,
which include temporary files, are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from wmh_runtime.dataset import bids, challenge
from wmh_runtime.dataset.image_formats import image_stem, is_image
from wmh_runtime.dataset.names.contrast import IN_DOUBT, contrast_from_names
from wmh_runtime.dataset.names.versions import find_processed_versions
from wmh_runtime.dataset.names.vocabulary import FLAIR, MASK
from wmh_runtime.dataset.subjects import read_sites, subject_from_name
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.folders import walk
from wmh_runtime.imageio.nifti_reader import is_written_by_us
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan, Dataset
from wmh_train.data.table import scans_of_table

_SCAN_PATTERNS = "NAME_{0}.nii.gz, sub-*/[ses-*/]anat/*_{0}.nii.gz or [SITE/]SUBJECT/pre/{1}.nii.gz"
_USE_TABLE = "List the files in a .csv table."


def find_datasets(
    folders: Sequence[Path],
    channels: Sequence[str],
    outputs: Sequence[str],
    regions: Sequence[str] = (),
) -> Dataset:
    """Find the annotated scans of several folders or tables, sorted by name.

    Args:
        folders: at least one folder or table, see `find_dataset`.
        channels: channels of the recipe.
        outputs: outputs of the recipe.
        regions: regions of the recipe.

    Raises:
        RecipeError: as `find_dataset`; or two of them contain a scan of the same name.
        InputError: a table cannot be read.
    """
    return _joined([find_dataset(folder, channels, outputs, regions) for folder in folders])


def find_scans(folders: Sequence[Path], channels: Sequence[str]) -> Dataset:
    """Find the scans of several folders or tables, whether they have masks or not.

    Args:
        folders: at least one folder or table, see `find_dataset`.
        channels: channels of the recipe.

    Raises:
        RecipeError: a folder has no scan, or files are ambiguous. Images of further channels may be
            missing: see `require_images`.
        InputError: a table cannot be read.
    """
    return _joined([_find(folder, channels, (), ()) for folder in folders])


def require_images(scans: Iterable[AnnotatedScan]) -> None:
    """Refuse scans without one of their images; RecipeError."""
    for scan in scans:
        for path in scan.channels:
            if not path.is_file():
                raise RecipeError("is missing", f"{scan.name} needs this file.", about=path)


def _joined(parts: Sequence[Dataset]) -> Dataset:
    """Join data sets; RecipeError if two contain a scan of the same name."""
    scans = sorted((scan for part in parts for scan in part.scans), key=lambda scan: scan.name)
    for before, scan in pairwise(scans):
        if scan.name == before.name:
            raise RecipeError(
                f"are both named {scan.name}: {before.channels[0]} and {scan.channels[0]}",
                "Rename one, or list the scans in a table with the column name.",
                about="two scans",
            )
    return Dataset(
        name=" + ".join(
            f"{name} ({count} data sets)" if count > 1 else name
            for name, count in Counter(part.name for part in parts).items()
        ),
        scans=tuple(scans),
        unannotated=tuple(name for part in parts for name in part.unannotated),
        notes=tuple(note for part in parts for note in part.notes),
    )


def find_dataset(
    data: Path, channels: Sequence[str], outputs: Sequence[str], regions: Sequence[str] = ()
) -> Dataset:
    """Find the annotated scans of a folder or a table, sorted by name.

    A scan without a mask is skipped. A scan with its masks but without one of its channels is an
    error.

    Args:
        data: folder, or .csv or .tsv table.
        channels: channels of the recipe, such as `flair`. Each file of the first one is a scan.
        outputs: outputs of the recipe, such as `wmh`.
        regions: regions of the recipe, such as `ventricles`. A scan may lack their masks.

    Raises:
        RecipeError: there is no annotated scan, a file is missing, or files are ambiguous.
        InputError: a table cannot be read.
    """
    found = _find(data, channels, outputs, regions)
    annotated = tuple(scan for scan in found.scans if scan.is_annotated)
    if not annotated:
        raise _no_annotated_scan(data, found.scans, regions)
    names = {scan.name for scan in annotated}
    unannotated = tuple(scan.name for scan in found.scans if scan.name not in names)
    return Dataset(found.name, annotated, unannotated, found.notes)


def _find(
    data: Path, channels: Sequence[str], outputs: Sequence[str], regions: Sequence[str]
) -> Dataset:
    """Find all scans of a folder or a table, sorted by name, at least one."""
    notes: list[str] = []
    if data.is_file():
        scans, notes = scans_of_table(data, channels, outputs, regions)
    elif data.is_dir():
        scans, notes = _find_bids(data, channels, outputs, regions)
        scans = scans or _find_challenge(data, channels, outputs, len(regions))
    else:
        raise RecipeError("does not exist", "Give a folder of scans or a table.", about=data)
    scans = sorted(scans, key=lambda scan: scan.name)
    for before, scan in pairwise(scans):
        if scan.name == before.name:
            raise _ambiguous(data, f"the scan {scan.name}", before.channels[0], scan.channels[0])
    if not scans:
        raise _no_scan(data, channels[0])
    if outputs or regions:
        require_images(scan for scan in scans if scan.is_annotated)  # the others are not used
    file = data.resolve()
    name = bids.read_dataset_name(data) or (file.name if file.is_dir() else file.stem)
    return Dataset(name, tuple(scans), (), tuple(notes))


def _find_bids(
    data: Path, channels: Sequence[str], outputs: Sequence[str], regions: Sequence[str]
) -> tuple[list[AnnotatedScan], list[str]]:
    patterns = ("*", "sub-*/anat/*", "sub-*/ses-*/anat/*")
    named_paths = [
        (entities, path)
        for path in _visible_files(data, *patterns)
        if (entities := bids.entities_of_channel(path, channels[0])) is not None
    ]
    if not named_paths:
        return [], []
    names = sorted({name for name, _ in named_paths})
    masks = [_bids_masks(data, output, names) for output in outputs]
    region_masks = [_bids_masks(data, region, names) for region in regions]
    sites = read_sites([data])
    scans = [
        AnnotatedScan(
            name=name,
            subject=(subject := subject_from_name(name)),
            site=sites.get(subject, ""),
            channels=(
                path,
                *(
                    _existing_file(path.with_name(bids.scan_name(name, other)))
                    for other in channels[1:]
                ),
            ),
            references=tuple(
                masks_of.get(name, data / bids.REFERENCES / bids.mask_name(name, output))
                for output, masks_of in zip(outputs, masks, strict=True)
            ),
            regions=tuple(masks_of.get(name) for masks_of in region_masks),
        )
        for name, path in named_paths
    ]
    return _without_others(scans, data, channels[0])


def _without_others(
    scans: Sequence[AnnotatedScan], data: Path, channel: str
) -> tuple[list[AnnotatedScan], list[str]]:
    """Leave out other contrasts and processed versions, unless they have a mask; note why."""
    masked = {scan.channels[0] for scan in scans if scan.is_annotated}
    reasons: dict[Path, str] = {}
    for path in (scan.channels[0] for scan in scans):
        contrast = contrast_from_names(path.relative_to(data))
        if path not in masked and not _is_of_channel(contrast, channel):
            reasons[path] = f"{contrast or 'no contrast'}, by its name or folder"
    scan_of = {s.channels[0]: s for s in scans if s.channels[0] not in reasons}
    for path, scan in find_processed_versions(scan_of).items():
        if path not in masked:
            reasons[path] = f"another version of {scan.relative_to(data).as_posix()}"
    notes = [f"skipped {path.relative_to(data).as_posix()}: {why}" for path, why in reasons.items()]
    return [scan for scan in scans if scan.channels[0] not in reasons], notes


def _is_of_channel(contrast: str | None, channel: str) -> bool:
    """Return whether an image of a contrast can be of a channel; only FLAIR has many names."""
    return contrast in (FLAIR, *IN_DOUBT) if channel == "flair" else contrast != MASK


def _is_result(path: Path) -> bool:
    """Return whether a mask is a result of `wmh-infer`, with its sidecar, and not a reference."""
    return (path.parent / f"{image_stem(path)}.json").exists() and is_written_by_us(path)


def _bids_masks(data: Path, output: str, names: Sequence[str]) -> dict[str, Path]:
    """Find the mask of each scan below `derivatives`, by the BIDS entities in the file names.

    The name of a mask has all entities of its scan and may have more. If this is true for two
    scans, such as `sub-1` and `sub-1_run-2`, the mask belongs to the scan with more entities.
    """
    entities = {name: bids.split_entities(name) for name in names}
    masks: dict[str, Path] = {}
    for path in _visible_files(data, f"{bids.DERIVATIVES}/**/*"):
        if not bids.is_mask_of(path, output) or _is_result(path):
            continue
        mask_entities = bids.split_entities(image_stem(path).removesuffix("_mask"))
        matching = [name for name in names if entities[name] <= mask_entities]
        most = max((len(entities[name]) for name in matching), default=0)
        for name in matching:
            if len(entities[name]) < most:
                continue
            if name in masks:
                raise _ambiguous(data, f"the mask of {name}", masks[name], path)
            masks[name] = path
    return masks


def _find_challenge(
    data: Path, channels: Sequence[str], outputs: Sequence[str], region_count: int
) -> list[AnnotatedScan]:
    scans = []
    for folder in _visible_folders(data):
        relative = folder.relative_to(data)
        subject = relative.parent
        if relative.name != challenge.BIAS_CORRECTED or not subject.name:
            continue
        for path in sorted(folder.glob(f"{challenge.channel_stem(channels[0])}.*")):
            if not is_image(path):
                continue
            others = (folder / f"{challenge.channel_stem(other)}.nii.gz" for other in channels[1:])
            masks = (folder.parent / f"{output}.nii.gz" for output in outputs)
            scans.append(
                AnnotatedScan(
                    name=subject.as_posix(),
                    subject=subject.as_posix(),
                    site=challenge.site_from_folders(subject.parent) or data.resolve().name,
                    channels=(path, *map(_existing_file, others)),
                    references=tuple(map(_existing_file, masks)),
                    regions=(None,) * region_count,  # the challenge has no masks of regions
                )
            )
    return scans


def _visible_folders(data: Path) -> Iterator[Path]:
    """Yield all folders that are not hidden, in sorted order."""
    for folder, subfolders, _ in walk(data):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder


def _visible_files(data: Path, *patterns: str) -> Iterator[Path]:
    """Yield matching paths, sorted per pattern, without hidden files and folders."""
    for pattern in patterns:
        for path in sorted(data.glob(pattern)):
            if not any(part.startswith(".") for part in path.relative_to(data).parts):
                yield path


def _existing_file(gzipped: Path) -> Path:
    """Return `x.nii.gz`, or `x.nii` if only that file exists."""
    plain = gzipped.with_suffix("")
    return plain if plain.is_file() and not gzipped.is_file() else gzipped


def _ambiguous(data: Path, description: str, first: Path, second: Path) -> RecipeError:
    files = " or ".join(path.relative_to(data).as_posix() for path in (first, second))
    return RecipeError(f"{description} may be {files}", _USE_TABLE, about=data)


def _no_annotated_scan(
    data: Path, scans: Sequence[AnnotatedScan], regions: Sequence[str]
) -> RecipeError:
    if not scans[0].references:
        example = bids.mask_name(scans[0].name, regions[0])
        return RecipeError(
            f"none of {count_noun(len(scans), 'scan')} has a mask of {', '.join(regions)}",
            f"Put the masks into {bids.REFERENCES}, named as {example}, or list the files in a"
            " .csv table.",
            about=data,
        )
    missing = next(path for path in scans[0].references if not path.is_file())
    return RecipeError(
        f"none of {count_noun(len(scans), 'scan')} has all masks, for example"
        f" {scans[0].name} has no {missing.name} in {missing.parent}",
        "Put the masks there, name their own folder (--masks), or list the files in a .csv table.",
        about=data,
    )


def _no_scan(data: Path, channel: str) -> RecipeError:
    suffix = bids.scan_name("", channel).removeprefix("_").removesuffix(".nii.gz")
    patterns = _SCAN_PATTERNS.format(suffix, challenge.channel_stem(channel))
    if elsewhere := sorted(data.glob(f"**/*_{suffix}.nii*")):
        return RecipeError(
            f"contains {count_noun(len(elsewhere), 'scan')}, such as"
            f" {elsewhere[0].relative_to(data)}, but in other folders than {patterns}",
            f"Move them. {_USE_TABLE}",
            about=data,
        )
    return RecipeError(
        f"contains no scan; searched for {patterns}",
        "Create scans with wmh-phantom, or list your files in a .csv table.",
        about=data,
    )
