"""Masks and segmentations in a folder, and the scan of each, by their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset import bids, challenge
from wmh_runtime.dataset.image_formats import image_stem, is_image
from wmh_runtime.evaluation.output_names import output_of
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.postprocessing.parcellation import BRAIN_SCHEME


@dataclass(frozen=True)
class MaskFile:
    """A mask or a segmentation, with the properties from its name and folder."""

    path: Path
    folder: Path  # relative to the searched folder; "." in the challenge layout
    scan_id: str
    site: str = ""


def find_masks(folder: Path, output: str, except_in: Path | None) -> list[MaskFile]:
    """Find the masks of an output in a folder, except those in a given subfolder."""
    found = (
        mask_file(path, path.relative_to(folder), output) for path in _images(folder, except_in)
    )
    return sorted((mask for mask in found if mask), key=lambda mask: mask.path)


def find_segmentations(folder: Path, except_in: Path | None) -> list[MaskFile]:
    """Find the segmentations of the regions of the brain, with a table of names beside each."""
    ending = image_stem(Path(bids.segmentation_name("", BRAIN_SCHEME)))
    found = [
        file_of_scan(path, path.relative_to(folder).parent, image_stem(path).removesuffix(ending))
        for path in _images(folder, except_in)
        if image_stem(path).endswith(ending) and bids.table_of_image(path).is_file()
    ]
    return sorted(found, key=lambda one: one.path)


def _images(folder: Path, except_in: Path | None) -> Iterator[Path]:
    for current, subfolders, names in walk(folder, except_for=except_in):
        subfolders[:] = (name for name in subfolders if not is_hidden(name))
        for path in (current / name for name in names if not is_hidden(name)):
            if is_image(path) and path.is_file():
                yield path


def mask_file(path: Path, relative: Path, output: str) -> MaskFile | None:
    """Return the properties of a mask file; None if it is not named like a mask of the output."""
    if output_of(relative.name) != output:
        return None
    stem = image_stem(relative)
    if stem == challenge.REFERENCE_STEM:
        return file_of_scan(path, relative.parent, challenge.SCAN_STEM)
    ending = image_stem(Path(bids.mask_name("", output)))  # the label in any case
    return file_of_scan(path, relative.parent, stem[: -len(ending)])


def file_of_scan(path: Path, folder: Path, entities: str) -> MaskFile:
    """Return the properties of a file from its folder and the entities in its name."""
    if entities != challenge.SCAN_STEM:
        return MaskFile(path, folder, entities)
    subject = challenge.subject_folder(folder)
    return MaskFile(path, Path(), subject.as_posix(), challenge.site_from_folders(subject.parent))
