"""From a result in the output folder to what the report shows. Nothing else reads sidecars."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wmh_runtime.dataset.subjects import run_from_name, session_from_name, subject_of_scan
from wmh_runtime.files.reading import is_file
from wmh_runtime.outputs.folder_results import Result
from wmh_runtime.outputs.paths import OutputPaths, paths_of_sidecar
from wmh_runtime.outputs.pictures.slice_layers import read_slice_pictures
from wmh_runtime.outputs.sidecar import Lesion, RegionResult, Sidecar
from wmh_runtime.postprocessing.load_bands import load_band
from wmh_runtime.postprocessing.parcellation import NO_REGION
from wmh_runtime.postprocessing.regions import BRAIN, POSTERIOR, VENTRICLES, WHITE
from wmh_runtime.report.links import link_to
from wmh_runtime.report.model import (
    LesionRow,
    Links,
    ModelUse,
    RegionRow,
    RegionTable,
    ScanEntry,
)
from wmh_runtime.text import as_utf8

LARGEST_LESIONS = 10  # in the table of a scan
_ANCHOR_DIGITS = 10  # of a hash: no two of a million scans are likely to share one
_SCHEMES = {
    "location_10mm": "Lesions by location",
    "brain": "Lesions by region",
    "atlas": "Lesions by region of the atlas",
}
_REGION_WORDS = {
    BRAIN: "rest of the brain",
    VENTRICLES: "lateral ventricles",
    WHITE: "white matter",
    "deepgray": "deep gray matter",
    POSTERIOR: "cerebellum and brain stem",
}


def scan_entry(out: Path, result: Result) -> ScanEntry:
    """Gather what the report shows of a result, without the pictures.

    Args:
        out: output folder.
        result: in that folder.
    """
    sidecar, scan = result.sidecar, result.scan.as_posix()
    output = result.output
    paths = paths_of_sidecar(result.relative, output)
    said_elsewhere = {one.warning for one in sidecar.quality}
    return ScanEntry(
        anchor=_anchor(scan, output),
        scan=as_utf8(scan),
        output=output,
        participant=as_utf8(subject_of_scan(result.scan)),
        session=as_utf8(session_from_name(scan)),
        run=as_utf8(run_from_name(scan)),
        mask_sha256=sidecar.mask_sha256,
        volume_ml=sidecar.volume_ml,
        percent_of_brain=sidecar.percent_of_brain,
        lesion_count=sidecar.lesion_count,
        band=load_band(sidecar.volume_ml),
        facts=sidecar.registration_facts,
        warnings=[as_utf8(one) for one in result.warnings if one not in said_elsewhere],
        quality=sidecar.quality,
        lesion_volumes_mm3=[lesion.volume_mm3 for lesion in sidecar.lesions],
        largest=[
            _lesion_row(number, lesion)
            for number, lesion in enumerate(sidecar.lesions[:LARGEST_LESIONS], start=1)
        ],
        regions=list(_region_tables(sidecar)),
        provenance=list(_provenance(sidecar)),
        links=_links(out, paths),
        pictures=None,
        is_excluded=result.is_excluded,
    )


def with_pictures(out: Path, result: Result, entry: ScanEntry) -> ScanEntry:
    """Return what the report shows of a result, with its pictures, which are large.

    Args:
        out: output folder.
        result: in that folder.
        entry: from `scan_entry`.
    """
    paths = paths_of_sidecar(result.relative, result.output)
    pictures = read_slice_pictures(out / paths.slices, result.sidecar.mask_sha256)
    return replace(entry, pictures=pictures)


def model_use(sidecar: Sidecar, result_count: int) -> ModelUse:
    """Return the model of a result and how it was used, for a number of results."""
    settings = sidecar.settings
    return ModelUse(
        name=as_utf8(settings.bundle),
        model_id=settings.model_id,
        output=settings.output.name,
        threshold=settings.output.threshold,
        min_lesion_mm3=settings.output.min_lesion_mm3,
        backend=settings.backend,
        device=settings.device,
        precision=settings.precision,
        tta=settings.tta,
        version=sidecar.versions.get("wmh-lora", ""),
        result_count=result_count,
    )


def _anchor(scan: str, output: str) -> str:
    """Return a name for the address of a scan that stays the same in every report."""
    text = f"{output}\0{scan}".encode("utf-8", errors="surrogateescape")
    return f"scan-{hashlib.sha256(text).hexdigest()[:_ANCHOR_DIGITS]}"


def _links(out: Path, paths: OutputPaths) -> Links:
    """Return the addresses of the files of a result that exist."""

    def link(file: Path) -> str:
        return link_to(file) if is_file(out / file) else ""

    return Links(
        mask=link(paths.mask),
        probability=link(paths.probability),
        sidecar=link(paths.sidecar),
        picture=link(paths.picture),
        viewer=link(paths.viewer),
    )


def _lesion_row(number: int, lesion: Lesion) -> LesionRow:
    where = [lesion.location or "", lesion.side or ""]
    if lesion.atlas_region is not None:
        share = "" if lesion.atlas_share is None else f" ({lesion.atlas_share:.0%})"
        where.append(f"{lesion.atlas_region}{share}")
    return LesionRow(
        number=number,
        volume_mm3=lesion.volume_mm3,
        where=as_utf8(", ".join(filter(None, where))),
        center_ras_mm=lesion.center_ras_mm,
        extent_mm=lesion.extent_mm,
        mean_probability=lesion.mean_probability,
        largest_slice=lesion.largest_slice,
    )


def _region_tables(sidecar: Sidecar) -> Iterator[RegionTable]:
    for scheme, title in _SCHEMES.items():
        of_scheme = [one for one in sidecar.regions if one.scheme == scheme]
        rows = [
            _region_row(one, of_scheme)
            for one in of_scheme
            if not one.side and (one.region != NO_REGION or one.lesion_ml)
        ]
        if rows:
            yield RegionTable(title, rows)


def _region_row(region: RegionResult, of_scheme: list[RegionResult]) -> RegionRow:
    halves = {one.side: one.lesion_ml for one in of_scheme if one.region == region.region}
    known = region.region_ml
    return RegionRow(
        name=_REGION_WORDS.get(region.region, as_utf8(region.region)),
        lesion_ml=region.lesion_ml,
        lesion_count=region.lesion_count,
        left_ml=halves.get("left"),
        right_ml=halves.get("right"),
        percent_of_region=100 * region.lesion_ml / known if known else None,
    )


def _provenance(sidecar: Sidecar) -> Iterator[tuple[str, str]]:
    settings = sidecar.settings
    for channel, image in sidecar.channels.items():
        yield f"{channel.upper()} file", as_utf8(image.file)
        yield f"{channel.upper()} SHA-256", image.sha256
    yield "Mask SHA-256", sidecar.mask_sha256
    if sidecar.voxel_size_mm:
        yield "Voxel size", f"{' × '.join(f'{mm:g}' for mm in sidecar.voxel_size_mm)} mm"
    yield "Model", f"{as_utf8(settings.bundle)} ({settings.model_id})"
    if sidecar.manual is None:
        yield "Threshold", f"{settings.output.threshold:g}"
        yield "Minimum lesion size", f"{settings.output.min_lesion_mm3:g} mm³"
    else:
        yield "Corrected mask", as_utf8(sidecar.manual.file)
    yield "Backend", f"{settings.backend}, {settings.device}, {settings.precision}"
    yield "Test-time augmentation", settings.tta
    yield "Slices", f"{sidecar.slices_executed} of {sidecar.slices} in {', '.join(sidecar.planes)}"
    yield "Versions", ", ".join(f"{name} {number}" for name, number in sidecar.versions.items())
    yield "Time", f"{sum(sidecar.seconds.values()):.1f} s"
