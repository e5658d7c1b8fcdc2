"""The columns of `volumes.csv`: one row for each result, for statistics.

Each column stands once, with its description and how its cell is made from a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from wmh_runtime.dataset.names.contrast import contrast_from_names
from wmh_runtime.dataset.subjects import run_from_name, session_from_name, subject_of_scan
from wmh_runtime.image_quality import criteria
from wmh_runtime.outputs.folder_results import Result
from wmh_runtime.outputs.reviews import DECISIONS
from wmh_runtime.outputs.sidecar import RegionResult
from wmh_runtime.outputs.tables.columns import Column
from wmh_runtime.postprocessing.locations import LOCATIONS
from wmh_runtime.postprocessing.regions import BRAIN, VENTRICLES

SEPARATOR = " | "  # between texts in one cell
_NEAREST_SCHEME = "location_3mm"
_NO_CONTRAST = "not stated"  # by the names; the scan was taken as FLAIR


_Cell = Callable[[Result], str]


def volume_columns() -> tuple[Column, ...]:
    """Return the columns of the table."""
    return tuple(column for column, _ in _COLUMNS)


def volume_row(result: Result) -> dict[str, str]:
    """Return the row of a result, column → cell. What is not known is empty."""
    return {column.name: cell(result) for column, cell in _COLUMNS}


def _identity() -> Iterator[tuple[Column, _Cell]]:
    yield Column("scan", "Path of the scan in the input folder"), lambda one: one.scan.as_posix()
    yield (
        Column("participant_id", "Subject in the name, as in participants.tsv of BIDS"),
        lambda one: subject_of_scan(one.scan),
    )
    yield (
        Column("session", "Session in the name, such as ses-2; empty: none"),
        lambda one: session_from_name(one.scan.as_posix()),
    )
    yield (
        Column("run", "Run in the name, such as run-1; empty: none"),
        lambda one: run_from_name(one.scan.as_posix()),
    )
    yield (
        Column("contrast", "Contrast of the scan by its names"),
        lambda one: contrast_from_names(one.scan) or _NO_CONTRAST,
    )
    yield (
        Column("channels", "Images that the model was given, joined by +"),
        lambda one: "+".join(one.sidecar.channels),
    )
    yield (
        Column("duplicate_of", "Scans whose file is the same, byte for byte; count them once"),
        lambda one: SEPARATOR.join(one.duplicates),
    )
    yield (
        Column("voxel_size_mm", "Voxel size along the axes of the image, joined by x", "mm"),
        lambda one: "x".join(f"{mm:g}" for mm in one.sidecar.voxel_size_mm or ()),
    )
    yield (
        Column(
            "mask_source",
            "Where the mask is from",
            levels={"model": "the network", "manual": "derivatives/manual of the input folder"},
        ),
        lambda one: "manual" if one.sidecar.manual else "model",
    )
    yield Column("output", "What was segmented"), lambda one: one.sidecar.settings.output.name


def _findings() -> Iterator[tuple[Column, _Cell]]:
    yield (
        Column("volume_ml", "Volume of all lesions", "mL"),
        lambda one: f"{one.sidecar.volume_ml:.4f}",
    )
    yield (
        Column(
            "lesion_count",
            "Number of lesions: components of voxels that share a face, an edge or a corner"
            " (26-connectivity), of at least min_lesion_mm3",
        ),
        lambda one: str(one.sidecar.lesion_count),
    )
    yield (
        Column("largest_lesion_mm3", "Volume of the largest lesion; 0 without any", "mm^3"),
        lambda one: f"{max((found.volume_mm3 for found in one.sidecar.lesions), default=0.0):g}",
    )
    yield (
        Column(
            "volume_z",
            "Modified z-score of the logarithm of volume + 0.1 mL among all results of this folder"
            " (Iglewicz and Hoaglin 1993); empty with few scans",
        ),
        lambda one: _number(one.volume_z, 2),
    )
    yield (
        Column("percent_of_brain", "Volume of the lesions in percent of brain_ml", "percent"),
        lambda one: _number(one.sidecar.percent_of_brain, 4),
    )
    for region in (BRAIN, VENTRICLES):
        yield (
            Column(f"{region}_ml", f"Volume of the {_WORDS[region]}", "mL"),
            partial(_region_ml, region),
        )


_WORDS = {
    BRAIN: "brain: tissue with the lateral ventricles, without the fluid around it",
    VENTRICLES: "lateral ventricles",
}


def _by_location() -> Iterator[tuple[Column, _Cell]]:
    for location in LOCATIONS:
        yield (
            Column(f"{location}_ml", f"Volume of {location} lesions, by voxels", "mL"),
            partial(_location_ml, location),
        )
        yield (
            Column(f"{location}_count", f"Number of lesions of which most is {location}"),
            partial(_location_count, location),
        )
    nearest = f"{LOCATIONS[0]}_3mm"
    words = "periventricular, up to 3 mm from the lateral ventricles instead of 10 mm"
    yield Column(f"{nearest}_ml", f"Volume of lesions that are {words}", "mL"), _nearest_ml
    yield Column(f"{nearest}_count", f"Number of lesions that are {words}"), _nearest_count


def _quality() -> Iterator[tuple[Column, _Cell]]:
    yield (
        Column("quality_flags", "Measures of image quality beyond their bounds, joined by |"),
        lambda one: SEPARATOR.join(
            measure.name for measure in one.sidecar.quality if measure.warning
        ),
    )
    for criterion in criteria.ALL:
        bounds = [
            f"warning {words} {bound:g}"
            for words, bound in (("below", criterion.lowest), ("above", criterion.highest))
            if bound is not None
        ]
        yield (
            Column(
                f"quality_{criterion.name}",
                f"Image quality: {criterion.description}; {', '.join(bounds)}",
                criterion.unit.replace("%", "percent"),
            ),
            partial(_quality_value, criterion.name),
        )


def _how_it_was_made() -> Iterator[tuple[Column, _Cell]]:
    yield (
        Column("threshold", "Probability threshold of the mask, 0 to 1; empty: corrected mask"),
        lambda one: "" if one.sidecar.manual else f"{one.sidecar.settings.output.threshold:g}",
    )
    yield (
        Column("min_lesion_mm3", "Smallest lesion that is kept; empty: corrected mask", "mm^3"),
        lambda one: "" if one.sidecar.manual else f"{one.sidecar.settings.output.min_lesion_mm3:g}",
    )
    for name, words in {
        "bundle": "Name of the model",
        "model_id": "Identifier of the model: equal identifiers give equal masks",
        "tta": "Test-time augmentation: full (eight views), none, adaptive",
        "precision": "Numbers that the network was run with",
        "backend": "Library that ran the network",
        "device": "Device that ran the network",
    }.items():
        yield (
            Column(name, words),
            partial(_setting, name),
        )
    yield (
        Column("version", "Version of wmh-lora"),
        lambda one: one.sidecar.versions.get("wmh-lora", ""),
    )
    yield (
        Column("input_sha256", "SHA-256 of the file of the scan"),
        lambda one: one.sidecar.input_sha256,
    )
    yield Column("mask", "Path of the mask in this folder"), lambda one: one.mask.as_posix()
    yield (
        Column("review", "Decision of a reader about this mask; empty: none", levels=DECISIONS),
        lambda one: one.decision,
    )
    yield (
        Column("reviewer", "Reader whose mark counts"),
        lambda one: one.review.reviewer if one.review and one.decision else "",
    )
    yield (
        Column("review_note", "Note of the reader"),
        lambda one: one.review.note if one.review else "",
    )
    yield (
        Column("warnings", f"What to be careful with, joined by {SEPARATOR.strip()}"),
        lambda one: SEPARATOR.join(one.warnings),
    )
    yield (
        Column("model_warnings", "What to be careful with in every result of this model"),
        lambda one: SEPARATOR.join(one.sidecar.model_warnings),
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _setting(name: str, result: Result) -> str:
    return str(getattr(result.sidecar.settings, name))


def _quality_value(name: str, result: Result) -> str:
    return next((_number(one.value, 2) for one in result.sidecar.quality if one.name == name), "")


def _region_ml(region: str, result: Result) -> str:
    return _number(result.sidecar.regions_ml.get(region), 2)


def _location_ml(location: str, result: Result) -> str:
    found = result.sidecar.locations.get(location)
    return "" if found is None else f"{found.volume_ml:.4f}"


def _location_count(location: str, result: Result) -> str:
    found = result.sidecar.locations.get(location)
    return "" if found is None else str(found.lesion_count)


def _nearest_ml(result: Result) -> str:
    return next((f"{one.lesion_ml:.4f}" for one in _nearest(result)), "")


def _nearest_count(result: Result) -> str:
    return next((str(one.lesion_count) for one in _nearest(result)), "")


def _nearest(result: Result) -> Iterator[RegionResult]:
    wanted = (_NEAREST_SCHEME, LOCATIONS[0], "")
    return (one for one in result.sidecar.regions if (one.scheme, one.region, one.side) == wanted)


_COLUMNS: tuple[tuple[Column, _Cell], ...] = (
    *_identity(),
    *_findings(),
    *_by_location(),
    *_quality(),
    *_how_it_was_made(),
)
