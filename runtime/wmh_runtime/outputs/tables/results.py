"""The tables of an output folder: volumes and regions of all results, and failures of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.contrast import contrast_from_names
from wmh_runtime.dataset.subjects import subject_from_name
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import remove
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.outputs.paths import is_file
from wmh_runtime.outputs.region_tables import REGIONS_NAME, wide_cells
from wmh_runtime.outputs.sidecar import (
    Sidecar,
    is_as_written,
    is_unreadable_sidecar,
    read_sidecar,
)
from wmh_runtime.postprocessing.locations import LOCATIONS
from wmh_runtime.postprocessing.regions import BRAIN, VENTRICLES

VOLUMES_NAME = "volumes.csv"
FAILURES_NAME = "failures.csv"
_SEPARATOR = " | "
_NEAREST_SCHEME = "location_3mm"
_NO_CONTRAST = "not stated"  # by the names; the scan was taken as FLAIR


def require_replaceable(out: Path) -> None:
    """Check that no other program has locked a table, as spreadsheet programs do.

    Raises:
        InputError: a table cannot be replaced.
    """
    for path in (out / VOLUMES_NAME, out / REGIONS_NAME, out / FAILURES_NAME):
        try:
            if path.exists():
                path.open("ab").close()
        except OSError as error:
            raise InputError(
                f"cannot be replaced ({reason_of(error)})",
                "Close it in other programs, or choose another output folder.",
                about=path,
            ) from error


@dataclass
class DoubtfulResults:
    """Results that the tables of a folder tell nothing about, or not the whole truth."""

    unreadable: list[Path] = field(default_factory=list)  # sidecars; they are in no table
    changed: list[Path] = field(default_factory=list)  # masks that are not as they were written
    repeated: list[str] = field(default_factory=list)  # scans that are the same file as another


@dataclass(frozen=True)
class _Row:
    """The rows of one result in the two tables."""

    volumes: dict[str, str]
    regions: dict[str, str]  # empty for a model without regions

    @classmethod
    def of(cls, sidecar: Sidecar, relative: Path, changes: Sequence[str]) -> Self:
        """Make them from the sidecar of a result."""
        volumes = _row(sidecar, relative, changes)
        names = {key: volumes[key] for key in ("scan", "subject", "output")}
        return cls(volumes, names | wide_cells(sidecar.regions) if sidecar.regions else {})


def write_tables(out: Path, failed: Sequence[tuple[Case, Exception]]) -> DoubtfulResults:
    """Write all tables. If one cannot be written, the others still are.

    `volumes.csv` has a row for each result in the folder, whichever run made it, and `regions.csv`
    one for each of a model with regions. A scan that failed in this run has a row in `failures.csv`
    only, even if it has a result of an earlier run. A table without rows is removed.

    Args:
        out: output folder.
        failed: the cases that failed in this run, each with the reason.

    Raises:
        InputError: a table cannot be written.
    """
    failures = [{"scan": scan.relative.as_posix(), "reason": str(why)} for scan, why in failed]
    failed_scans = {row["scan"] for row in failures}
    found, doubtful = _read_results(out)
    rows = [row for row in found if row.volumes["scan"] not in failed_scans]
    with ExitStack() as all_tables:
        all_tables.callback(_write_or_remove, out / FAILURES_NAME, failures)
        all_tables.callback(
            _write_or_remove, out / REGIONS_NAME, _aligned(row.regions for row in rows)
        )
        all_tables.callback(_write_or_remove, out / VOLUMES_NAME, [row.volumes for row in rows])
    return doubtful


def _write_or_remove(table: Path, rows: Sequence[Mapping[str, str]]) -> None:
    if rows:
        write_table_atomically(table, rows)
    else:
        remove(table)


def _aligned(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows that are not empty, with the columns of all of them."""
    filled = [row for row in rows if row]
    columns = dict.fromkeys(column for row in filled for column in row)
    return [{column: row.get(column, "") for column in columns} for row in filled]


def _read_results(out: Path) -> tuple[list[_Row], DoubtfulResults]:
    """Return the rows of each result in the output folder, and which are doubtful."""
    rows, doubtful = list[_Row](), DoubtfulResults()
    for path in sorted(filter(is_file, out.rglob(f"*{bids.SIDECAR_SUFFIX}"))):
        if (sidecar := read_sidecar(path)) is not None:
            mask = path.with_suffix(".nii.gz")
            if changes := _changes(mask, sidecar):
                doubtful.changed.append(mask)
            rows.append(_Row.of(sidecar, path.relative_to(out), changes))
        elif is_unreadable_sidecar(path):
            doubtful.unreadable.append(path)
    doubtful.repeated = _mark_repeated(row.volumes for row in rows)
    return sorted(rows, key=lambda row: (row.volumes["scan"], row.volumes["output"])), doubtful


def _mark_repeated(rows: Iterable[dict[str, str]]) -> list[str]:
    """Warn in the rows of scans whose file is the same, byte for byte; return these scans."""
    by_input = defaultdict(list)
    for row in rows:
        by_input[row["input_sha256"], row["output"]].append(row)
    repeated: set[str] = set()
    for copies in by_input.values():
        for row in copies:
            if others := [other["scan"] for other in copies if other is not row]:
                warnings = [f"the same file as {', '.join(others)}: count it once", row["warnings"]]
                row["warnings"] = _SEPARATOR.join(filter(None, warnings))
                repeated.add(row["scan"])
    return sorted(repeated)


def _changes(mask: Path, sidecar: Sidecar) -> list[str]:
    """Return a warning if a mask is not as it was written, such as one corrected by hand."""
    try:
        if is_as_written(mask, sidecar):
            return []
        problem = "the mask was changed after it was written"
    except OSError as error:
        problem = f"the mask cannot be read ({reason_of(error)})"
    return [f"{problem}; volume and lesions are those of the mask as it was written"]


def _brain_cells(sidecar: Sidecar) -> dict[str, str]:
    """Return volumes of regions and of lesions by location; empty cells if they are not known."""
    share = sidecar.percent_of_brain
    cells = {"percent_of_brain": "" if share is None else f"{share:.4f}"}
    for region in (BRAIN, VENTRICLES):
        volume = sidecar.regions_ml.get(region)
        cells[f"{region}_ml"] = "" if volume is None else f"{volume:.2f}"
    for location in LOCATIONS:
        found = sidecar.locations.get(location)
        cells[f"{location}_ml"] = "" if found is None else f"{found.volume_ml:.4f}"
        cells[f"{location}_count"] = "" if found is None else str(found.lesion_count)
    nearest = [
        one
        for one in sidecar.regions
        if (one.scheme, one.region, one.side) == (_NEAREST_SCHEME, LOCATIONS[0], "")
    ]
    cells["periventricular_3mm_ml"] = f"{nearest[0].lesion_ml:.4f}" if nearest else ""
    cells["periventricular_3mm_count"] = str(nearest[0].lesion_count) if nearest else ""
    return cells


def _row(sidecar: Sidecar, relative: Path, changes: Sequence[str]) -> dict[str, str]:
    """Return the row of a result. How it was made comes after what was found."""
    settings, output = sidecar.settings, sidecar.settings.output
    scan = relative.parent / sidecar.Sources[0]
    largest_mm3 = max((lesion.volume_mm3 for lesion in sidecar.lesions), default=0.0)
    return {
        "scan": scan.as_posix(),
        "subject": subject_from_name(bids.bids_entities(scan)),
        "contrast": contrast_from_names(scan) or _NO_CONTRAST,
        "channels": "+".join(sidecar.channels),
        "output": output.name,
        "volume_ml": f"{sidecar.volume_ml:.4f}",
        "lesion_count": str(sidecar.lesion_count),
        "largest_lesion_mm3": f"{largest_mm3:g}",
        **_brain_cells(sidecar),
        "threshold": f"{output.threshold:g}",
        "min_lesion_mm3": f"{output.min_lesion_mm3:g}",
        "bundle": settings.bundle,
        "model_id": settings.model_id,
        "tta": settings.tta,
        "precision": settings.precision,
        "backend": settings.backend,
        "device": settings.device,
        "version": sidecar.versions.get("wmh-lora", ""),
        "input_sha256": sidecar.input_sha256,
        "mask": relative.with_suffix(".nii.gz").as_posix(),
        "warnings": _SEPARATOR.join([*changes, *sidecar.warnings]),
    }
