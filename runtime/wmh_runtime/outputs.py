"""The files of one result: their names, and writing them.

For `sub-1_FLAIR.nii.gz` and the output `wmh`, names as in BIDS derivatives:

    sub-1_label-WMH_mask.nii.gz      lesion mask, uint8, the scan's own grid
    sub-1_label-WMH_probseg.nii.gz   probability map, float32, on request
    sub-1_label-WMH_qc.png           slices with the lesions outlined
    sub-1_label-WMH_mask.json        the record; written last, so it says that all is there
"""

from __future__ import annotations

import io
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_runtime.atomic import PARTIAL_PREFIX, write_bytes_atomically, write_text_atomically
from wmh_runtime.discovery import stem_of
from wmh_runtime.errors import InputError
from wmh_runtime.geometry import reorientation_to
from wmh_runtime.intensity import head_mask
from wmh_runtime.record import Record
from wmh_runtime.report.qc import QcCaption, draw_quality_control
from wmh_runtime.scan import Scan, write_on_grid_of
from wmh_runtime.segmenter import OutputResult

_FLAIR_SUFFIX = re.compile(r"_FLAIR$", re.IGNORECASE)


@dataclass(frozen=True)
class OutputPaths:
    """Where the files of one output of one scan go."""

    mask: Path
    probability: Path
    picture: Path
    record: Path


def output_paths(out: Path, relative: Path, output: str) -> OutputPaths:
    """Name the files of one output of the scan that lies at `relative` below the input folder."""
    entities = _FLAIR_SUFFIX.sub("", stem_of(relative))
    stem = f"{entities}_label-{output.upper()}"
    folder = out / relative.parent
    return OutputPaths(
        mask=folder / f"{stem}_mask.nii.gz",
        probability=folder / f"{stem}_probseg.nii.gz",
        picture=folder / f"{stem}_qc.png",
        record=folder / f"{stem}_mask.json",
    )


def write_output(
    scan: Scan, result: OutputResult, record: Record, paths: OutputPaths, *, with_probability: bool
) -> None:
    """Write one result, replacing an earlier one.

    Raises:
        InputError: a file cannot be written.
    """
    make_folder(paths.mask.parent)
    paths.record.unlink(missing_ok=True)  # no record ever stands beside files of another run
    write_on_grid_of(scan, result.lesions.mask, paths.mask)
    if with_probability:
        write_on_grid_of(scan, result.probability, paths.probability)
    else:
        paths.probability.unlink(missing_ok=True)
    write_bytes_atomically(paths.picture, _picture(scan, result, record))
    write_text_atomically(paths.record, record.model_dump_json(indent=2) + "\n")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        InputError: that is impossible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made ({error.strerror or error})", "Choose another folder.", about=folder
        ) from error


def require_writable(folder: Path) -> None:
    """Find out before hours of work whether results can be written.

    Raises:
        InputError: they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=PARTIAL_PREFIX):
            pass
    except OSError as error:
        raise InputError(
            f"cannot be written to ({error.strerror or error})",
            "Check its permissions and the disk, or choose another folder.",
            about=folder,
        ) from error


def _picture(scan: Scan, result: OutputResult, record: Record) -> bytes:
    """Draw the quality-control picture, PNG."""
    to_display = reorientation_to("axial", scan.affine)
    row_mm, column_mm = (scan.spacing_mm[axis] for axis in to_display.axes[1:])
    slices = np.ascontiguousarray(to_display.apply(scan.voxels))
    image = draw_quality_control(
        slices,
        head_mask(slices, scan.voxel_volume_mm3),
        to_display.apply(result.lesions.mask).astype(bool),
        (row_mm, column_mm),
        QcCaption(
            title=stem_of(scan.path),
            facts=(
                f"{record.volume_ml:.2f} mL",
                "1 lesion" if record.lesion_count == 1 else f"{record.lesion_count} lesions",
                f"threshold {result.output.threshold:g}",
                f"minimum {result.output.min_lesion_mm3:g} mm³",
                f"model {record.settings.bundle}",
            ),
            warnings=tuple(record.warnings),
        ),
    )
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()
