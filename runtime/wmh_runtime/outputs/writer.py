"""The files of one result, and writing them so that the record says that all are there."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_runtime.dataset import bids
from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.imageio.nifti_reader import is_ours
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.orientation import reorientation_to
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.inference.segmenter import OutputResult
from wmh_runtime.outputs.qc_image import QcCaption, draw_quality_control
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.preprocessing.head_mask import head_mask

_PNG_LEVEL = 3  # as small as at 9 for these pictures, in an eighth of the time


@dataclass(frozen=True)
class OutputPaths:
    """Where the files of one output of one scan go."""

    mask: Path
    probability: Path
    picture: Path
    record: Path

    @property
    def hold_foreign_files(self) -> bool:
        """Whether something lies there that this program did not leave unfinished.

        The mask is written first and bears our mark; a record would mean a finished result.
        """
        if self.mask.exists():
            return not is_ours(self.mask)
        return self.probability.exists() or self.picture.exists()


def output_paths(out: Path, relative: Path, output: str) -> OutputPaths:
    """Say where one output of the scan at `relative` below the input folder goes."""
    folder, entities = out / relative.parent, bids.bids_entities(relative)
    return OutputPaths(
        mask=folder / bids.mask_name(entities, output),
        probability=folder / bids.probability_name(entities, output),
        picture=folder / bids.picture_name(entities, output),
        record=folder / bids.record_name(entities, output),
    )


def write_output(
    scan: Scan, result: OutputResult, record: Sidecar, paths: OutputPaths, *, with_probability: bool
) -> None:
    """Write one result, replacing an earlier one. The record goes first and comes last.

    Raises:
        InputError: a file cannot be written or replaced.
    """
    make_folder(paths.mask.parent)
    remove(paths.record)
    write_on_grid_of(scan, result.lesions.mask, paths.mask)
    if with_probability:
        write_on_grid_of(scan, result.probability, paths.probability)
    else:
        remove(paths.probability)
    write_bytes_atomically(paths.picture, _picture(scan, result, record))
    write_text_atomically(paths.record, record.model_dump_json(indent=2) + "\n")


def _picture(scan: Scan, result: OutputResult, record: Sidecar) -> bytes:
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
            title=bids.nifti_stem(scan.path),
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
    image.save(encoded, "PNG", compress_level=_PNG_LEVEL)
    return encoded.getvalue()
