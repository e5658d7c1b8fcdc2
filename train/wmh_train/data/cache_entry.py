"""The files of one preprocessed scan in the cache: its images, and what its masks say.

    cache/
    ├── images/3f0c…/         a scan, named by the hash of its images and the preprocessing
    │   ├── images.npy        float16 (n, C, S, S): half of float32, more precise than noise
    │   └── facts.json        number and neighbors of the slices of each plane, warnings
    └── masks/9a2b…/          a scan with its masks, named by the hash of all its files
        ├── targets.npy       labels of all masks, or probabilities, see target_slices.py
        └── facts.json        which of the n slices contain a target

So a scan with several masks, such as those of several programs, is preprocessed and stored once.
Slices without head are omitted.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import atomic_folder
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.temporary import remove_folder, remove_temporary_files
from wmh_runtime.preprocessing.preprocess import (
    PreprocessedScan,
    Preprocessing,
    find_geometry,
    preprocess,
)
from wmh_runtime.schema import StrictModel, json_without_defaults
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.file_hashes import file_hashes
from wmh_train.data.target_slices import make_targets, stored_dtype, stored_shape

IMAGES, TARGETS = "images.npy", "targets.npy"
IMAGES_FOLDER, MASKS_FOLDER = "images", "masks"
_FORMAT = 3  # increase it if the same scan and preprocessing give different files
_PLANES_FORMAT = 3  # likewise, for slices in several planes
_FACTS = "facts.json"


class PlaneSlices(StrictModel):
    """The slices of one plane, which are neighbors of each other."""

    count: int
    neighbor_distance: int  # in slices


class ImageFacts(StrictModel):
    """What is known of the slices of a scan."""

    warnings: list[str]
    planes: list[PlaneSlices]  # in the order of the slices

    @property
    def slices(self) -> int:
        """Their number, n."""
        return sum(plane.count for plane in self.planes)


class _TargetFacts(StrictModel):
    with_target: list[bool]  # slices with a lesion; with a region if no lesions are trained


@dataclass(frozen=True)
class CachedScan:
    """Where the slices of a scan are, and what is known of them."""

    images: Path  # folder
    targets: Path  # folder
    facts: ImageFacts
    with_target: list[bool]  # (n,)


def scan_key(scan: AnnotatedScan, preprocessing: Preprocessing) -> str:
    """Return a hash of the preprocessing and the content of a scan's files, not of their names.

    Preprocessing is hashed without default values.

    Raises:
        InputError: a file cannot be read.
    """
    unknown = [f"region {k} is unknown" for k, path in enumerate(scan.regions) if path is None]
    regions = [path for path in scan.regions if path is not None]
    kind = "probability" if scan.is_taught else "mask"
    parts = [("image", scan.channels), (kind, scan.references), ("region", regions)]
    return _hash(preprocessing, unknown, parts)


def prepare_cache(folder: Path) -> None:
    """Make the folders of a cache, and remove temporary files of killed processes.

    Raises:
        InputError: a folder cannot be made.
    """
    for name in (IMAGES_FOLDER, MASKS_FOLDER):
        make_folder(folder / name)
        remove_temporary_files(folder / name)


class CacheCounts(NamedTuple):
    """How many entries a cache will have, for the error if the disk is full."""

    images: int
    masks: int

    @classmethod
    def of(cls, scans: Sequence[AnnotatedScan]) -> CacheCounts:
        """Count the entries of scans; one image may have several masks."""
        return cls(len({scan.channels for scan in scans}), len(scans))


def find_or_write(
    scan: AnnotatedScan, preprocessing: Preprocessing, folder: Path, counts: CacheCounts
) -> CachedScan:
    """Return the cached slices of a scan. Write what is missing or damaged.

    Args:
        scan: annotated scan.
        preprocessing: settings of the recipe.
        folder: prepared cache folder.
        counts: of all entries.

    Raises:
        InputError: the scan cannot be read or contains no head, or the cache cannot be written.
    """
    image_key = _hash(preprocessing, [], [("image", scan.channels)])
    images = folder / IMAGES_FOLDER / image_key
    targets = folder / MASKS_FOLDER / scan_key(scan, preprocessing)

    def read_facts() -> ImageFacts | None:
        return _read_image_facts(images, len(scan.channels), preprocessing.size_px)

    facts = read_facts()

    def read_targets() -> _TargetFacts | None:
        if facts is None:
            return None
        return _read_target_facts(targets, scan, facts.slices, preprocessing.size_px)

    of_targets = read_targets()
    if facts is not None and of_targets is not None:
        return CachedScan(images, targets, facts, of_targets.with_target)
    channels, references = scan.load()
    references += scan.load_regions(channels[0])
    slices: NDArray[np.float16] | None = None
    if facts is None:
        prepared = preprocess(channels, preprocessing.model_copy(update={"context_slices": 0}))
        slices, geometry = prepared.slices.astype(np.float16), prepared.geometry
        facts = _facts(prepared)
    else:
        geometry = find_geometry(channels[0], preprocessing)
    stored, with_target = make_targets(scan, channels[0], references, geometry)
    try:
        # Another process may have written them meanwhile, and may read them now.
        if slices is not None and read_facts() is None:
            _write(images, IMAGES, slices, facts)
        if read_targets() is None:
            _write(targets, TARGETS, stored, _TargetFacts(with_target=with_target))
    except OSError as error:
        pixels = len(stored) * preprocessing.size_px**2
        one_image, one_mask = pixels * 2 * len(channels), stored.nbytes
        needed = counts.images * one_image + counts.masks * one_mask
        raise _write_error(error, folder, one_image + one_mask, needed) from error
    return CachedScan(images, targets, facts, with_target)


def open_array(path: Path) -> NDArray[Any]:
    """Memory-map an array. The file is closed with the last reference to the array.

    Raises:
        InputError: the file does not exist or is damaged.
    """
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:  # ValueError: the file is truncated
        problem = f"cannot be read from the cache ({error})"
        raise InputError(
            problem, "Run the command again; it writes the file again.", about=path
        ) from error


def _hash(
    preprocessing: Preprocessing,
    facts: Iterable[str],
    files: Iterable[tuple[str, Iterable[Path]]],
) -> str:
    formats = [f"format {_FORMAT}"]
    if len(preprocessing.planes) > 1:
        formats.append(f"planes {_PLANES_FORMAT}")
    parts = [*formats, json_without_defaults(preprocessing), *facts]
    for kind, paths in files:
        parts += [f"{kind} {sha256}" for sha256 in file_hashes(paths)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _facts(prepared: PreprocessedScan) -> ImageFacts:
    counts_and_distances = zip(prepared.slices_by_plane, prepared.neighbor_distances, strict=True)
    return ImageFacts(
        warnings=list(prepared.warnings),
        planes=[
            PlaneSlices(count=count, neighbor_distance=distance)
            for count, distance in counts_and_distances
        ],
    )


def _read_image_facts(folder: Path, channels: int, size_px: int) -> ImageFacts | None:
    """Return the facts of cached images; None if they are missing or damaged."""
    try:
        facts = ImageFacts.model_validate_json((folder / _FACTS).read_bytes())
        stored = open_array(folder / IMAGES)
    except (OSError, InputError, ValidationError):
        return None
    is_valid = stored.shape == (facts.slices, channels, size_px, size_px)
    return facts if is_valid and stored.dtype == np.float16 else None


def _read_target_facts(
    folder: Path, scan: AnnotatedScan, slices: int, size_px: int
) -> _TargetFacts | None:
    """Return the facts of cached targets; None if they are missing or damaged."""
    try:
        facts = _TargetFacts.model_validate_json((folder / _FACTS).read_bytes())
        stored = open_array(folder / TARGETS)
    except (OSError, InputError, ValidationError):
        return None
    is_valid = stored.shape == stored_shape(scan, slices, size_px)
    is_complete = len(facts.with_target) == slices and stored.dtype == stored_dtype(scan)
    return facts if is_valid and is_complete else None


def _write(folder: Path, name: str, array: NDArray[Any], facts: StrictModel) -> None:
    """Write an entry of the cache in place of a damaged one; OSError.

    Raises:
        InputError: there is a damaged one that cannot be removed.
    """
    try:
        remove_folder(folder)
    except OSError as error:
        problem = f"is damaged and cannot be removed ({reason_of(error)})"
        raise InputError(problem, "Remove this folder.", about=folder) from error
    with atomic_folder(folder, keep_existing=True) as partial:
        np.save(partial / name, array)
        (partial / _FACTS).write_text(facts.model_dump_json(), encoding="utf-8")


def _write_error(error: OSError, folder: Path, scan_bytes: int, needed_bytes: int) -> InputError:
    # On a full disk, numpy does not always set ENOSPC.
    if error.errno == errno.ENOSPC or shutil.disk_usage(folder).free < scan_bytes:
        return InputError(
            f"has no space left; all slices need about {needed_bytes / 1e9:.1f} GB",
            "Free disk space or use another folder for the cache.",
            about=folder,
        )
    problem = f"cannot be written ({reason_of(error)})"
    return InputError(problem, "Check permissions and disk.", about=folder)
