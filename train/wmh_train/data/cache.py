"""Preprocessed slices on disk, so that memory does not grow with the number of scans.

A file is memory-mapped only while slices are copied from it, because the pages of an open map count
as memory of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import WmhError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.preprocessing.slices.context import with_neighbors
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache_entry import (
    IMAGES,
    TARGETS,
    CacheCounts,
    CachedScan,
    find_or_write,
    open_array,
    prepare_cache,
)
from wmh_train.data.target_slices import unpack


@dataclass(frozen=True)
class CachedSlices:
    """Preprocessed slices of several scans on disk, in the order of the scans."""

    scans: tuple[AnnotatedScan, ...]
    with_target: NDArray[np.bool_]  # (n,), for all slices; see AnnotatedScan.targets
    scan_of: NDArray[np.int_]  # (n,), index into `scans`
    warnings: tuple[str, ...]  # warnings for the user, each with the name of its scan
    cached: tuple[CachedScan, ...]  # one per scan
    preprocessing: Preprocessing

    @property
    def sites(self) -> NDArray[np.str_]:
        """The site of each slice, (n,)."""
        return np.array([scan.site for scan in self.scans])[self.scan_of]

    @cached_property
    def _target_dtype(self) -> type[np.uint8] | type[np.float32]:
        return np.float32 if any(scan.is_taught for scan in self.scans) else np.uint8

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
            cached=(*self.cached, *other.cached),
            preprocessing=self.preprocessing,
        )

    def read(
        self, indices: Sequence[int] | NDArray[np.int_]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8 | np.float32]]:
        """Read slices.

        Args:
            indices: (m,), indices of slices from 0 to n − 1, in any order, repeats allowed.

        Returns:
            Images, float32 (m, C, S, S), normalized, 0 outside the head, with neighbors; and
            targets, uint8 (m, K, S, S): 0, `LESION` or `OTHER_PATHOLOGY`. If any scan is taught,
            they are float32 in all slices: a probability of lesion from 0 to 1, or
            `OTHER_PATHOLOGY`.

        Raises:
            InputError: a file no longer exists.
        """
        indices = np.asarray(indices, np.intp)
        any_scan, scan_of = self.scans[0], self.scan_of[indices]
        shape = self.preprocessing.network_shape(len(any_scan.channels), _target_count(any_scan))
        images = np.empty((len(indices), *shape.input_shape), np.float32)
        targets = np.empty((len(indices), *shape.output_shape), self._target_dtype)
        for scan in np.unique(scan_of):
            positions = np.flatnonzero(scan_of == scan)
            rows = indices[positions] - np.searchsorted(self.scan_of, scan)
            slices = open_array(self.cached[scan].images / IMAGES)
            first = 0
            for plane in self.cached[scan].facts.planes:
                own = (rows >= first) & (rows < first + plane.count)
                images[positions[own]] = with_neighbors(
                    slices[first : first + plane.count],
                    rows[own] - first,
                    self.preprocessing.context_slices,
                    plane.neighbor_distance,
                )
                first += plane.count
            packed = open_array(self.cached[scan].targets / TARGETS)[rows]
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
    prepare_cache(folder)
    errors: list[WmhError] = []
    counts = CacheCounts.of(scans)
    for scan in scans:
        try:
            find_or_write(scan, preprocessing, folder, counts)
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
    prepare_cache(folder)
    counts = CacheCounts.of(scans)
    cached = [find_or_write(scan, preprocessing, folder, counts) for scan in scans]
    return CachedSlices(
        scans=tuple(scans),
        with_target=np.concatenate([np.array(one.with_target, bool) for one in cached]),
        scan_of=np.repeat(np.arange(len(scans)), [one.facts.slices for one in cached]),
        warnings=tuple(
            f"{scan.name}: {warning}"
            for scan, one in zip(scans, cached, strict=True)
            for warning in one.facts.warnings
        ),
        cached=tuple(cached),
        preprocessing=preprocessing,
    )


def _target_count(scan: AnnotatedScan) -> int:
    return len(scan.references) + len(scan.regions)


def _combine(errors: list[WmhError]) -> WmhError:
    """Return the first error, with the files of the other errors added."""
    first, *others = errors
    if not others:
        return first
    names = ", ".join(str(error.about) for error in others)
    problem = f"{first.problem}; {len(others)} more cannot be used: {names}"
    return type(first)(problem, first.remedy, about=first.about)
