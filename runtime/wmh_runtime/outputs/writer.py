"""Write the results of a scan. The sidecar comes last: if it is there, all files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.dataset import bids
from wmh_runtime.files.atomic import (
    remove,
    write_bytes_atomically,
    write_json_atomically,
    write_text_atomically,
)
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.describe import CaseInputs, describe_result
from wmh_runtime.outputs.label_maps import REGION_COLUMNS, remove_label_map, write_label_map
from wmh_runtime.outputs.paths import Extras, LabelMapPaths, OutputPaths
from wmh_runtime.outputs.pictures.qc_image import qc_image
from wmh_runtime.outputs.pictures.slice_layers import slice_pictures
from wmh_runtime.outputs.settings import Provenance
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.tables.lesions import LESION_COLUMNS, lesion_rows
from wmh_runtime.outputs.tables.regions import write_region_table
from wmh_runtime.postprocessing.parcellation import ATLAS_SCHEME, BRAIN_SCHEME
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation
from wmh_runtime.postprocessing.regions import Regions

_PROBABILITY = "Probability of lesion on the grid of the input, 0 to 1"
_LESIONS = "Lesions, each with its number, the largest first"
_REGIONS = {
    BRAIN_SCHEME: "Regions of the brain that the network predicts",
    ATLAS_SCHEME: "Regions of the given atlas on the grid of the input",
}
_WIDEST_NUMBER = np.dtype(np.uint16)


def write_results(
    inputs: CaseInputs,
    segmentation: Segmentation,
    provenance: Provenance,
    paths: Sequence[OutputPaths],
    region_paths: Mapping[str, LabelMapPaths],
    *,
    extras: Extras,
    others: Mapping[str, Scan] | None = None,
) -> list[Sidecar]:
    """Write mask, pictures, lesions and sidecar of each output; replace earlier ones.

    Extras that an earlier run wrote are replaced too, or removed, so that none is outdated.

    Args:
        inputs: what the segmentation was made from.
        segmentation: with a result for each output.
        provenance: what made it.
        paths: for each output.
        region_paths: for each scheme.
        extras: what to write besides.
        others: further images on the grid of the first one, by channel, for the picture.

    Raises:
        InputError: a file cannot be written or replaced.
    """
    scan = inputs.scan
    make_folder(paths[0].mask.parent)
    for to in paths:  # while there is a sidecar, all files are those of one run
        remove(to.sidecar)
        for outdated in (to.viewer, *to.dicom.files):
            remove(outdated)
    about = {"SpatialReference": "orig", "Sources": list(inputs.sources)}
    for scheme, of_scheme in region_paths.items():
        _write_regions(scan, segmentation, scheme, of_scheme, about, is_requested=extras.regions)
    shown = segmentation.regions if region_paths[BRAIN_SCHEME].image.exists() else {}
    sidecars = []
    for result, settings, to in zip(segmentation.results, provenance.settings, paths, strict=True):
        write_on_grid_of(scan, result.mask, to.mask)
        if extras.probability or to.probability.exists():
            _write_probability(scan, result, about, to.probability)
        sidecar = describe_result(
            inputs, segmentation, result, settings, provenance, sha256_file(to.mask)
        )
        _write_lesions(scan, result, sidecar, about, to.lesions)
        picture = qc_image(scan, segmentation.head, result, shown, sidecar, others or {})
        write_bytes_atomically(to.picture, picture)
        slices = slice_pictures(
            scan, segmentation.head, result, segmentation.regions, sidecar.mask_sha256
        )
        write_text_atomically(to.slices, slices.model_dump_json() + "\n")
        if not sidecar.regions:  # those of another model are outdated
            remove(to.regions)
            remove(bids.sidecar_of(to.regions))
        elif extras.regions or inputs.atlas or to.regions.exists():
            write_region_table(to.regions, sidecar.regions)
        write_text_atomically(to.sidecar, sidecar.model_dump_json(indent=2) + "\n")
        sidecars.append(sidecar)
    return sidecars


def _write_probability(
    scan: Scan, result: OutputResult, about: Mapping[str, Any], to: Path
) -> None:
    write_on_grid_of(scan, result.probability, to)
    described = {"Description": _PROBABILITY, "Type": "Lesion", **about}
    write_json_atomically(bids.sidecar_of(to), described)


def _write_lesions(
    scan: Scan,
    result: OutputResult,
    sidecar: Sidecar,
    about: Mapping[str, Any],
    to: LabelMapPaths,
) -> None:
    """Write the image in which each lesion has its number, and their table."""
    numbers = result.lesions.labels
    if numbers.dtype.itemsize > _WIDEST_NUMBER.itemsize:
        numbers = numbers.astype(np.float32)  # exact up to 16,777,216
    rows = lesion_rows(sidecar.lesions)
    write_label_map(scan, numbers, LESION_COLUMNS, rows, {"Description": _LESIONS, **about}, to)


def _write_regions(
    scan: Scan,
    segmentation: Segmentation,
    scheme: str,
    to: LabelMapPaths,
    about: Mapping[str, Any],
    *,
    is_requested: bool,
) -> None:
    """Write the regions in one scheme if they are wanted; remove outdated ones."""
    is_known = (
        bool(segmentation.regions) if scheme == BRAIN_SCHEME else segmentation.atlas is not None
    )
    if not is_known:
        remove_label_map(to)
    elif is_requested or (to.image.exists() and not to.hold_foreign_files):
        numbers, names = _numbers_and_names(segmentation, scheme)
        rows = [{"index": index, "name": name} for index, name in names.items()]
        description = {"Description": _REGIONS[scheme], **about}
        write_label_map(scan, numbers, REGION_COLUMNS, rows, description, to)


def _numbers_and_names(
    segmentation: Segmentation, scheme: str
) -> tuple[NDArray[np.unsignedinteger], Mapping[int, str]]:
    """Return the regions in a scheme that is known, (x, y, z), and their names."""
    if scheme == ATLAS_SCHEME and segmentation.atlas is not None:
        return segmentation.atlas.numbers, segmentation.atlas.names
    names = dict(enumerate(segmentation.regions, start=1))
    return Regions.of(segmentation.regions).numbers, names
