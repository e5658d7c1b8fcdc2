"""Corrected masks: read those of a case, say which they are, and which are not used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from wmh_runtime.cohort.job import Job
from wmh_runtime.dataset.bids import MANUAL
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.imageio.image_files import sha256_of_image
from wmh_runtime.imageio.reference_masks import Reference, read_reference
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.sidecar import ManualMask, read_sidecar
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME
from wmh_runtime.types import Mask


def read_manual_masks(
    paths: Mapping[str, Path], scan: Scan, head: Mask
) -> tuple[dict[str, Mask], list[str]]:
    """Read corrected masks.

    Args:
        paths: of the masks, by output.
        scan: that they are of.
        head: (x, y, z), on its grid.

    Returns:
        The lesions by output, (x, y, z), and what to be careful with.

    Raises:
        InputError: a mask cannot be read, is not on the grid of the scan, or has no label for
            lesions.
    """
    masks, warnings = {}, list[str]()
    for output, path in paths.items():
        reference = read_reference(path, scan)
        if reference.ignored.any() and not reference.lesion.any():
            problem = "has the label 2 (other pathology), but no voxel with the label 1 (lesion)"
            raise InputError(problem, "Give lesions the label 1.", about=path)
        masks[output] = reference.lesion
        prefix = f"{output}: " if len(paths) > 1 else ""
        found = _warnings(reference, head, scan.voxel_volume_mm3 / 1000)
        warnings += [prefix + warning for warning in found]
    return masks, warnings


def describe_manual_masks(case: Case, paths: Mapping[str, Path]) -> dict[str, ManualMask]:
    """Say for the sidecars which corrected masks of a case were taken.

    Raises:
        InputError: one cannot be read.
    """
    described = {}
    for output, path in paths.items():
        try:
            sha256 = sha256_of_image(path)
        except OSError as error:
            raise input_error(error, "is a corrected mask that cannot be read", path) from error
        # It has the name of the mask, so its folder is named, too.
        inner = MANUAL / case.relative.parent / path.name
        name = case.source_of(path) if case.dataset else inner.as_posix()
        described[output] = ManualMask(file=name, sha256=sha256)
    return described


def remarks_on_manual_masks(
    job: Job, existing: Collection[Path], *, limit: int | None = None
) -> Iterator[str]:
    """Name the corrected masks that are not used, and those that are gone since an earlier run.

    Args:
        job: with the masks that were found.
        existing: sidecars in the output folder.
        limit: of those that are not used, if `skipped.csv` has the others; None: all.
    """
    unused = job.manual.unused
    for one in unused[:limit]:
        yield f"{one.path.as_posix()}: corrected mask, not used: {one.reason}"
    if limit is not None and (more := len(unused) - limit) > 0:
        yield f"{more} more corrected masks are not used: see {SKIPPED_NAME}"
    for case in job.cases:
        known = job.manual.of_scan(case.relative)
        for output, to in zip(job.outputs, job.paths(case), strict=True):
            if output.name in known or to.sidecar not in existing:
                continue
            sidecar = read_sidecar(to.sidecar)
            if sidecar and sidecar.manual:
                name = case.relative.as_posix()
                yield f"{name}: its corrected mask is gone: the model's is used again"


def _warnings(reference: Reference, head: Mask, voxel_ml: float) -> Iterator[str]:
    ignored, outside = (
        int(np.count_nonzero(part)) * voxel_ml
        for part in (reference.ignored, reference.lesion & ~head)
    )
    if not reference.lesion.any():
        yield "the corrected mask is empty: no lesion is counted"
    if ignored:
        yield (
            f"{ignored:.2f} mL of the corrected mask have the label 2 (other pathology): they are"
            " not counted as lesions"
        )
    if outside:
        yield f"{outside:.2f} mL of the corrected mask lie outside of the head: check it"
