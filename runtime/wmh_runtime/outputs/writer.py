"""Write the results of a scan. The sidecar comes last: if it is there, all files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.paths import ALL_EXTRAS, Extras, OutputPaths
from wmh_runtime.outputs.qc_image import qc_image
from wmh_runtime.outputs.sidecar import Provenance, Sidecar
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation
from wmh_runtime.postprocessing.regions import number_regions


def write_results(
    scan: Scan,
    segmentation: Segmentation,
    provenance: Provenance,
    paths: Sequence[OutputPaths],
    seconds: Mapping[str, float],
    *,
    extras: Extras,
) -> list[Sidecar]:
    """Write mask, quality-control image and sidecar of each output; replace earlier ones.

    Args:
        scan: that was segmented.
        segmentation: with a result for each output.
        provenance: what made it.
        paths: for each output.
        seconds: by stage.
        extras: what to write besides.

    Raises:
        InputError: a file cannot be written or replaced.
    """
    sidecars = []
    for result, settings, to in zip(segmentation.results, provenance.settings, paths, strict=True):
        make_folder(to.mask.parent)
        remove(to.sidecar)
        write_on_grid_of(scan, result.mask, to.mask)
        _write_extras(scan, segmentation, result, to, extras)
        sidecar = Sidecar.from_result(
            scan,
            segmentation,
            result,
            settings,
            provenance,
            seconds,
            mask_sha256=sha256_file(to.mask),
        )
        regions = segmentation.regions if extras.regions else {}
        picture = qc_image(scan, segmentation.head, result, regions, sidecar)
        write_bytes_atomically(to.picture, picture)
        write_text_atomically(to.sidecar, sidecar.model_dump_json(indent=2) + "\n")
        sidecars.append(sidecar)
    return sidecars


def _write_extras(
    scan: Scan, segmentation: Segmentation, result: OutputResult, to: OutputPaths, extras: Extras
) -> None:
    """Write the files that were requested; remove those of an earlier run that were not."""
    for path in to.extra_files(ALL_EXTRAS):
        remove(path)
    if extras.probability:
        write_on_grid_of(scan, result.probability, to.probability)
    if extras.regions:
        rows = [
            {"index": index, "name": name}
            for index, name in enumerate(segmentation.regions, start=1)
        ]
        write_table_atomically(to.regions_table, rows, delimiter="\t")
        write_on_grid_of(scan, number_regions(segmentation.regions), to.regions)
