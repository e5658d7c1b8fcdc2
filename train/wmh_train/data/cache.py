"""Prepared slices on disk, so that memory does not grow with the number of scans.

    cache/
    └── 3f0c…/            one scan, named by the hash of all that decides what is in it
        ├── images.npy    float16 (n, C, S, S): half the memory, and finer than the noise
        ├── targets.npy   uint8 (n, K, S, S), labels as in reference masks
        └── facts.json    which of the n slices show a lesion, and warnings

Slices without head are left out. A file is mapped only for as long as slices are copied from it:
pages of a map that stays open count as this process's memory.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.reference_masks import LESION, OTHER_PATHOLOGY
from wmh_runtime.files.atomic import atomic_folder
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.temporary import remove_folder, remove_temporary_files
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.schema import StrictModel
from wmh_train.data.annotated import AnnotatedScan

_FORMAT = 1  # raised whenever the same scan and preprocessing would give other files
_CUT = 0.5  # a pixel is lesion where at least half of it is
_IMAGES, _TARGETS, _FACTS = "images.npy", "targets.npy", "facts.json"


class _Facts(StrictModel):
    """What is known of a scan's slices without reading them."""

    with_lesion: list[bool]
    warnings: list[str]


@dataclass(frozen=True)
class CachedSlices:
    """The prepared slices of some scans, in their order, on disk."""

    scans: tuple[AnnotatedScan, ...]
    with_lesion: NDArray[np.bool_]  # (n,), of all slices of all scans
    scan_of: NDArray[np.int_]  # (n,), index into `scans`
    warnings: tuple[str, ...]  # what a user should know about a scan, its name in front
    folders: tuple[Path, ...]  # one for each scan
    size_px: int  # S

    def read(
        self, places: Sequence[int] | NDArray[np.int_]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Read slices.

        Args:
            places: (m,), each from 0 to n − 1, in any order, more than once if wanted.

        Returns:
            Images, float32 (m, C, S, S), z-scored, 0 outside the head; and targets, uint8
            (m, K, S, S), of 0, `LESION` and `OTHER_PATHOLOGY`.

        Raises:
            InputError: a file is no longer there.
        """
        wanted = np.asarray(places, np.intp)
        first, scan_of = self.scans[0], self.scan_of[wanted]
        square = (self.size_px, self.size_px)
        images = np.empty((len(wanted), len(first.channels), *square), np.float32)
        targets = np.empty((len(wanted), len(first.references), *square), np.uint8)
        for scan in np.unique(scan_of):
            asked = np.flatnonzero(scan_of == scan)
            rows = wanted[asked] - np.searchsorted(self.scan_of, scan)
            images[asked] = _map(self.folders[scan] / _IMAGES)[rows]
            targets[asked] = _map(self.folders[scan] / _TARGETS)[rows]
        return images, targets


def fill_cache(
    scans: Sequence[AnnotatedScan],
    preprocessing: Preprocessing,
    folder: Path,
    on_scan: Callable[[], None],
) -> None:
    """Prepare the slices of all scans that are not in the cache; tell all that cannot be at once.

    Several processes may fill one cache at a time. What killed ones left is removed.

    Args:
        scans: of a data set.
        preprocessing: of the recipe.
        folder: of the cache, made if needed.
        on_scan: called after each scan, for progress.

    Raises:
        InputError: a scan cannot be read or shows no head, or the cache cannot be written.
    """
    make_folder(folder)
    remove_temporary_files(folder)
    refused: list[InputError] = []
    for scan in scans:
        try:
            _cached(scan, preprocessing, folder, len(scans))
        except InputError as error:
            refused.append(error)
        on_scan()
    if refused:
        raise _in_one(refused)


def open_cache(
    scans: Sequence[AnnotatedScan], preprocessing: Preprocessing, folder: Path
) -> CachedSlices:
    """Open the slices of some scans, at least one; what is missing or damaged is made again.

    Raises:
        InputError: a scan cannot be read or shows no head, or the cache cannot be written.
    """
    make_folder(folder)
    cached = [_cached(scan, preprocessing, folder, len(scans)) for scan in scans]
    counts = [len(facts.with_lesion) for _, facts in cached]
    return CachedSlices(
        scans=tuple(scans),
        with_lesion=np.concatenate([np.array(facts.with_lesion, bool) for _, facts in cached]),
        scan_of=np.repeat(np.arange(len(scans)), counts),
        warnings=tuple(
            f"{scan.name}: {warning}"
            for scan, (_, facts) in zip(scans, cached, strict=True)
            for warning in facts.warnings
        ),
        folders=tuple(path for path, _ in cached),
        size_px=preprocessing.size_px,
    )


def scan_key(scan: AnnotatedScan, preprocessing: Preprocessing) -> str:
    """Hash all that decides a scan's slices: the files' content, not their names.

    Raises:
        InputError: a file cannot be read.
    """
    said = [f"format {_FORMAT}", preprocessing.model_dump_json()]
    for what, paths in (("image", scan.channels), ("mask", scan.references)):
        for path in paths:
            try:
                stat = path.stat()
                said.append(f"{what} {_sha256_once(path, stat.st_size, stat.st_mtime_ns)}")
            except OSError as error:
                problem = f"cannot be read ({error.strerror or error})"
                raise InputError(problem, "Check it.", about=path) from error
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


@cache
def _sha256_once(path: Path, _size: int, _modified_ns: int) -> str:
    """Hash a file once in a process, and again where it was changed: `fit` asks three times."""
    return sha256_file(path)


def _cached(
    scan: AnnotatedScan, preprocessing: Preprocessing, folder: Path, scan_count: int
) -> tuple[Path, _Facts]:
    """Return where a scan's slices are and what is known of them; make them where needed."""
    path = folder / scan_key(scan, preprocessing)
    facts = _sound_facts(path, scan, preprocessing)
    if facts is not None:
        return path, facts
    try:
        remove_folder(path)
    except OSError as error:
        problem = f"is damaged and cannot be removed ({error.strerror or error})"
        raise InputError(problem, "Remove it.", about=path) from error
    return path, _make(scan, preprocessing, path, scan_count)


def _sound_facts(path: Path, scan: AnnotatedScan, preprocessing: Preprocessing) -> _Facts | None:
    """Return what is known of cached slices; None where they are not there or are damaged."""
    size = preprocessing.size_px
    try:
        facts = _Facts.model_validate_json((path / _FACTS).read_bytes())
        for name, dtype, depth in (
            (_IMAGES, np.float16, len(scan.channels)),
            (_TARGETS, np.uint8, len(scan.references)),
        ):
            stored = _map(path / name)
            expected = (len(facts.with_lesion), depth, size, size)
            if stored.shape != expected or stored.dtype != dtype:
                return None
    except (OSError, InputError, ValidationError):
        return None
    return facts


def _make(scan: AnnotatedScan, preprocessing: Preprocessing, path: Path, scan_count: int) -> _Facts:
    channels, references = scan.load()
    prepared = preprocess(channels, preprocessing)
    images = prepared.slices.astype(np.float16)
    targets = np.zeros((len(images), len(references), *images.shape[2:]), np.uint8)
    for k, reference in enumerate(references):
        lesion = prepared.restoration.squares(reference.lesion) >= _CUT
        marked = prepared.restoration.squares(reference.lesion | reference.ignored) >= _CUT
        targets[:, k][marked] = OTHER_PATHOLOGY
        targets[:, k][lesion] = LESION
    facts = _Facts(
        with_lesion=(targets == LESION).any(axis=(1, 2, 3)).tolist(),
        warnings=[*(warning for one in channels for warning in one.warnings), *prepared.warnings],
    )
    try:
        with atomic_folder(path, or_existing=True) as partial:
            np.save(partial / _IMAGES, images)
            np.save(partial / _TARGETS, targets)
            (partial / _FACTS).write_text(facts.model_dump_json(), encoding="utf-8")
    except OSError as error:
        scan_bytes = images.nbytes + targets.nbytes
        raise _refusal(error, path.parent, scan_bytes, scan_count) from error
    return facts


def _map(path: Path) -> NDArray[Any]:
    """Map an array's file; it is closed with the last reference to the array.

    Raises:
        InputError: the file is not there or is damaged.
    """
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:  # a ValueError where it is cut off
        problem = f"cannot be read from the cache ({error})"
        raise InputError(problem, "Start again; it is made anew.", about=path) from error


def _in_one(errors: list[InputError]) -> InputError:
    """Tell the first error in full and what the others are about."""
    first, *others = errors
    if not others:
        return first
    names = ", ".join(str(error.about) for error in others)
    problem = f"{first.problem}; {len(others)} more cannot be used: {names}"
    return InputError(problem, first.remedy, about=first.about)


def _refusal(error: OSError, folder: Path, scan_bytes: int, scan_count: int) -> InputError:
    full = error.errno == errno.ENOSPC or shutil.disk_usage(folder).free < scan_bytes
    if full:  # of which numpy does not always say so
        return InputError(
            f"has no room; the prepared slices take about {scan_count * scan_bytes / 1e9:.1f} GB",
            "Free some space or choose another folder for the cache.",
            about=folder,
        )
    problem = f"cannot be written to ({error.strerror or error})"
    return InputError(problem, "Check its permissions and the disk.", about=folder)
