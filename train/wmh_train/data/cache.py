"""Preprocessed slices on disk, so that memory does not grow with the number of scans.

    cache/
    └── 3f0c…/            one scan, named by the hash of its files and the preprocessing
        ├── images.npy    float16 (n, C, S, S): half the size of float32, more precise than noise
        ├── targets.npy   (n, S, S), the labels of K reference masks, two bits for each
        └── facts.json    which of the n slices contain a target, distance of neighbors, warnings

Slices without head are omitted. A file is memory-mapped only while slices are copied from it,
because the pages of an open map count as memory of the process.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.evaluation.reference_masks import LESION, OTHER_PATHOLOGY
from wmh_runtime.files.atomic import atomic_folder
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.temporary import remove_folder, remove_temporary_files
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.preprocessing.slices.context import with_neighbors
from wmh_runtime.schema import StrictModel, json_without_defaults
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.file_hashes import file_hashes
from wmh_train.data.packed_targets import pack, packed_dtype, unpack

_FORMAT = 3  # increase it if the same scan and preprocessing give different files
_MIN_SHARE = 0.5  # a pixel is lesion if at least this share of it is
_IMAGES, _TARGETS, _METADATA = "images.npy", "targets.npy", "facts.json"


class PlaneSlices(StrictModel):
    """The slices of one plane, which are neighbors of each other."""

    count: int
    neighbor_distance: int  # in slices


class _SlicesMetadata(StrictModel):
    """Metadata of the slices of one scan."""

    with_target: list[bool]  # slices with a lesion; with a region if no lesions are trained
    warnings: list[str]
    planes: list[PlaneSlices]  # in the order of the slices


@dataclass(frozen=True)
class CachedSlices:
    """Preprocessed slices of several scans on disk, in the order of the scans."""

    scans: tuple[AnnotatedScan, ...]
    with_target: NDArray[np.bool_]  # (n,), for all slices; see AnnotatedScan.targets
    scan_of: NDArray[np.int_]  # (n,), index into `scans`
    warnings: tuple[str, ...]  # warnings for the user, each with the name of its scan
    folders: tuple[Path, ...]  # one per scan
    planes: tuple[tuple[PlaneSlices, ...], ...]  # of each scan
    preprocessing: Preprocessing

    @property
    def sites(self) -> NDArray[np.str_]:
        """The site of each slice, (n,)."""
        return np.array([scan.site for scan in self.scans])[self.scan_of]

    def missing_regions(self, indices: NDArray[np.int_]) -> NDArray[np.bool_]:
        """Return of which of the R regions the scans of m slices have no mask, (m, R)."""
        scans = [self.scans[scan] for scan in self.scan_of[indices]]
        return np.array([[path is None for path in scan.regions] for scan in scans], np.bool_)

    def joined_with(self, other: CachedSlices) -> CachedSlices:
        """Return these slices and, after them, those of other scans in the same preprocessing."""
        return CachedSlices(
            scans=(*self.scans, *other.scans),
            with_target=np.concatenate([self.with_target, other.with_target]),
            scan_of=np.concatenate([self.scan_of, len(self.scans) + other.scan_of]),
            warnings=(*self.warnings, *other.warnings),
            folders=(*self.folders, *other.folders),
            planes=(*self.planes, *other.planes),
            preprocessing=self.preprocessing,
        )

    def read(
        self, indices: Sequence[int] | NDArray[np.int_]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Read slices.

        Args:
            indices: (m,), indices of slices from 0 to n − 1, in any order, repeats allowed.

        Returns:
            Images, float32 (m, C, S, S), normalized, 0 outside the head, with neighbors; and
            targets, uint8 (m, K, S, S): 0, `LESION` or `OTHER_PATHOLOGY`.

        Raises:
            InputError: a file no longer exists.
        """
        indices = np.asarray(indices, np.intp)
        any_scan, scan_of = self.scans[0], self.scan_of[indices]
        shape = self.preprocessing.network_shape(len(any_scan.channels), _target_count(any_scan))
        images = np.empty((len(indices), *shape.input_shape), np.float32)
        targets = np.empty((len(indices), *shape.output_shape), np.uint8)
        for scan in np.unique(scan_of):
            positions = np.flatnonzero(scan_of == scan)
            rows = indices[positions] - np.searchsorted(self.scan_of, scan)
            slices = _open_array(self.folders[scan] / _IMAGES)
            first = 0
            for plane in self.planes[scan]:
                own = (rows >= first) & (rows < first + plane.count)
                images[positions[own]] = with_neighbors(
                    slices[first : first + plane.count],
                    rows[own] - first,
                    self.preprocessing.context_slices,
                    plane.neighbor_distance,
                )
                first += plane.count
            packed = _open_array(self.folders[scan] / _TARGETS)[rows]
            targets[positions] = unpack(packed, shape.outputs)
        return images, targets


def fill_cache(
    scans: Sequence[AnnotatedScan],
    preprocessing: Preprocessing,
    folder: Path,
    on_scan: Callable[[], None],
) -> None:
    """Preprocess the scans that are not in the cache yet. Report all scans that fail together.

    Several processes can fill the same cache at the same time. Temporary files of killed processes
    are removed.

    Args:
        scans: annotated scans of a data set.
        preprocessing: preprocessing settings of the recipe.
        folder: cache folder, created if missing.
        on_scan: called after each scan, for progress.

    Raises:
        InputError: a scan cannot be read or contains no head, or the cache cannot be written.
        UnexpectedError: a scan meets a bug of this program; the log is in the cache folder.
    """
    make_folder(folder)
    remove_temporary_files(folder)
    errors: list[WmhError] = []
    for scan in scans:
        try:
            _find_or_write(scan, preprocessing, folder, len(scans))
        except Exception as error:
            errors.append(case_failure(error, scan.channels[0], folder))
        on_scan()
    if errors:
        raise _combine(errors)


def open_cache(
    scans: Sequence[AnnotatedScan], preprocessing: Preprocessing, folder: Path
) -> CachedSlices:
    """Open the slices of at least one scan. Missing or damaged entries are written again.

    Raises:
        InputError: a scan cannot be read or contains no head, or the cache cannot be written.
    """
    make_folder(folder)
    cached = [_find_or_write(scan, preprocessing, folder, len(scans)) for scan in scans]
    counts = [len(metadata.with_target) for _, metadata in cached]
    return CachedSlices(
        scans=tuple(scans),
        with_target=np.concatenate(
            [np.array(metadata.with_target, bool) for _, metadata in cached]
        ),
        scan_of=np.repeat(np.arange(len(scans)), counts),
        warnings=tuple(
            f"{scan.name}: {warning}"
            for scan, (_, metadata) in zip(scans, cached, strict=True)
            for warning in metadata.warnings
        ),
        folders=tuple(path for path, _ in cached),
        planes=tuple(tuple(metadata.planes) for _, metadata in cached),
        preprocessing=preprocessing,
    )


def scan_key(scan: AnnotatedScan, preprocessing: Preprocessing) -> str:
    """Return a hash of the preprocessing and the content of a scan's files, not of their names.

    Preprocessing is hashed without default values.

    Raises:
        InputError: a file cannot be read.
    """
    parts = [f"format {_FORMAT}", json_without_defaults(preprocessing)]
    parts += [f"region {k} is unknown" for k, path in enumerate(scan.regions) if path is None]
    regions = [path for path in scan.regions if path is not None]
    for kind, paths in (
        ("image", scan.channels),
        ("mask", scan.references),
        ("region", regions),
    ):
        parts += [f"{kind} {sha256}" for sha256 in file_hashes(paths)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _find_or_write(
    scan: AnnotatedScan, preprocessing: Preprocessing, folder: Path, scan_count: int
) -> tuple[Path, _SlicesMetadata]:
    """Return folder and metadata of a scan's slices. Write them if they are missing or damaged."""
    path = folder / scan_key(scan, preprocessing)
    metadata = _read_metadata(path, scan, preprocessing)
    if metadata is not None:
        return path, metadata
    try:
        remove_folder(path)
    except OSError as error:
        problem = f"is damaged and cannot be removed ({reason_of(error)})"
        raise InputError(problem, "Remove this folder.", about=path) from error
    return path, _write(scan, preprocessing, path, scan_count)


def _read_metadata(
    path: Path, scan: AnnotatedScan, preprocessing: Preprocessing
) -> _SlicesMetadata | None:
    """Return the metadata of cached slices; None if the slices are missing or damaged."""
    size = preprocessing.size_px
    try:
        metadata = _SlicesMetadata.model_validate_json((path / _METADATA).read_bytes())
        for name, dtype, depth in (
            (_IMAGES, np.float16, (len(scan.channels),)),
            (_TARGETS, packed_dtype(_target_count(scan)), ()),
        ):
            stored = _open_array(path / name)
            expected = (len(metadata.with_target), *depth, size, size)
            if stored.shape != expected or stored.dtype != dtype:
                return None
    except (OSError, InputError, ValidationError):
        return None
    return metadata


def _write(
    scan: AnnotatedScan, preprocessing: Preprocessing, path: Path, scan_count: int
) -> _SlicesMetadata:
    channels, references = scan.load()
    prepared = preprocess(channels, preprocessing.model_copy(update={"context_slices": 0}))
    images = prepared.slices.astype(np.float16)
    targets = np.zeros((len(images), _target_count(scan), *images.shape[2:]), np.uint8)
    for k, reference in enumerate((*references, *scan.load_regions(channels[0]))):
        lesion = prepared.geometry.to_network(reference.lesion) >= _MIN_SHARE
        labeled = prepared.geometry.to_network(reference.lesion | reference.ignored) >= _MIN_SHARE
        targets[:, k][labeled] = OTHER_PATHOLOGY
        targets[:, k][lesion] = LESION
    metadata = _SlicesMetadata(
        with_target=(targets[:, : len(scan.targets)] == LESION).any(axis=(1, 2, 3)).tolist(),
        warnings=list(prepared.warnings),
        planes=[
            PlaneSlices(count=len(plane.head_slices), neighbor_distance=distance)
            for plane, distance in zip(
                prepared.geometry.planes, prepared.neighbor_distances, strict=True
            )
        ],
    )
    try:
        with atomic_folder(path, keep_existing=True) as partial:
            np.save(partial / _IMAGES, images)
            np.save(partial / _TARGETS, pack(targets))
            (partial / _METADATA).write_text(metadata.model_dump_json(), encoding="utf-8")
    except OSError as error:
        scan_bytes = images.nbytes + targets.nbytes
        raise _write_error(error, path.parent, scan_bytes, scan_count) from error
    return metadata


def _target_count(scan: AnnotatedScan) -> int:
    return len(scan.references) + len(scan.regions)


def _open_array(path: Path) -> NDArray[Any]:
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


def _combine(errors: list[WmhError]) -> WmhError:
    """Return the first error, with the files of the other errors added."""
    first, *others = errors
    if not others:
        return first
    names = ", ".join(str(error.about) for error in others)
    problem = f"{first.problem}; {len(others)} more cannot be used: {names}"
    return type(first)(problem, first.remedy, about=first.about)


def _write_error(error: OSError, folder: Path, scan_bytes: int, scan_count: int) -> InputError:
    # On a full disk, numpy does not always set ENOSPC.
    if error.errno == errno.ENOSPC or shutil.disk_usage(folder).free < scan_bytes:
        return InputError(
            f"has no space left; the slices need about {scan_count * scan_bytes / 1e9:.1f} GB",
            "Free disk space or use another folder for the cache.",
            about=folder,
        )
    problem = f"cannot be written ({reason_of(error)})"
    return InputError(problem, "Check permissions and disk.", about=folder)
