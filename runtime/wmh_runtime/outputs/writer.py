"""Write the results of a scan. The sidecar comes last: if it is there, all files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.paths import Extras, OutputPaths, RegionPaths
from wmh_runtime.outputs.qc_image import qc_image
from wmh_runtime.outputs.region_tables import write_region_table
from wmh_runtime.outputs.settings import Provenance
from wmh_runtime.outputs.sidecar import AtlasInput, Sidecar
from wmh_runtime.postprocessing.postprocess import Segmentation
from wmh_runtime.postprocessing.regions import number_regions
from wmh_runtime.preprocessing.registration import Registration
from wmh_runtime.types import Mask


def write_results(
    images: Mapping[str, Scan],
    segmentation: Segmentation,
    provenance: Provenance,
    paths: Sequence[OutputPaths],
    region_paths: RegionPaths,
    seconds: Mapping[str, float],
    *,
    extras: Extras,
    registrations: Mapping[str, Registration] | None = None,
    atlas: AtlasInput | None = None,
) -> list[Sidecar]:
    """Write mask, quality-control image and sidecar of each output; replace earlier ones.

    Extras that an earlier run wrote are replaced too, so that none is lost or outdated.

    Args:
        images: that were segmented, by channel; the first one has the grid of the results.
        segmentation: with a result for each output.
        provenance: what made it.
        paths: for each output.
        region_paths: of the scan.
        seconds: by stage.
        extras: what to write besides.
        registrations: of further images, by channel.
        atlas: that the segmentation has the lesions by region of.

    Raises:
        InputError: a file cannot be written or replaced.
    """
    scan = next(iter(images.values()))
    make_folder(paths[0].mask.parent)
    regions = _write_regions(scan, segmentation, region_paths, is_requested=extras.regions)
    sidecars = []
    for result, settings, to in zip(segmentation.results, provenance.settings, paths, strict=True):
        remove(to.sidecar)
        write_on_grid_of(scan, result.mask, to.mask)
        if extras.probability or to.probability.exists():
            write_on_grid_of(scan, result.probability, to.probability)
        sidecar = Sidecar.from_result(
            images,
            segmentation,
            result,
            settings,
            provenance,
            seconds,
            mask_sha256=sha256_file(to.mask),
            registrations=registrations or {},
            atlas=atlas,
        )
        picture = qc_image(scan, segmentation.head, result, regions, sidecar)
        write_bytes_atomically(to.picture, picture)
        if not sidecar.regions:  # those of another model are outdated
            remove(to.regions)
        elif extras.regions or atlas or to.regions.exists():
            write_region_table(to.regions, sidecar.regions)
        write_text_atomically(to.sidecar, sidecar.model_dump_json(indent=2) + "\n")
        sidecars.append(sidecar)
    return sidecars


def _write_regions(
    scan: Scan, segmentation: Segmentation, to: RegionPaths, *, is_requested: bool
) -> Mapping[str, Mask]:
    """Write the regions if they are wanted, and return those that the pictures show."""
    regions = segmentation.regions
    if not regions:  # those of another model are outdated
        remove(to.segmentation)
        remove(to.table)
    elif is_requested or to.segmentation.exists():
        rows = [{"index": index, "name": name} for index, name in enumerate(regions, start=1)]
        write_on_grid_of(scan, number_regions(regions), to.segmentation)
        write_table_atomically(to.table, rows, delimiter="\t")
        return regions
    return {}
