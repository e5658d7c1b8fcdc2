"""The tables of an output folder: the volumes of all results, and the failures of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.contrast import contrast_from_names
from wmh_runtime.dataset.subjects import subject_from_name
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import remove
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.outputs.paths import is_file
from wmh_runtime.outputs.sidecar import (
    Sidecar,
    is_as_written,
    is_unreadable_sidecar,
    read_sidecar,
)
from wmh_runtime.postprocessing.regions import BRAIN, LOCATIONS, VENTRICLES

VOLUMES_NAME = "volumes.csv"
FAILURES_NAME = "failures.csv"
_SEPARATOR = " | "
_NO_CONTRAST = "not stated"  # by the names; the scan was taken as FLAIR


def require_replaceable(out: Path) -> None:
    """Check that no other program has locked a table, as spreadsheet programs do.

    Raises:
        InputError: a table cannot be replaced.
    """
    for path in (out / VOLUMES_NAME, out / FAILURES_NAME):
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


def write_tables(out: Path, failed: Sequence[tuple[Case, Exception]]) -> DoubtfulResults:
    """Write both tables. If one cannot be written, the other still is.

    `volumes.csv` has a row for each result in the folder, whichever run made it. A scan that failed
    in this run has a row in `failures.csv` only, even if it has a result of an earlier run. A table
    without rows is removed.

    Args:
        out: output folder.
        failed: the cases that failed in this run, each with the reason.

    Raises:
        InputError: a table cannot be written.
    """
    failures = [{"scan": scan.relative.as_posix(), "reason": str(why)} for scan, why in failed]
    failed_scans = {row["scan"] for row in failures}
    volumes, doubtful = _volumes(out)
    with ExitStack() as both:
        both.callback(_write_or_remove, out / FAILURES_NAME, failures)
        both.callback(
            _write_or_remove,
            out / VOLUMES_NAME,
            [row for row in volumes if row["scan"] not in failed_scans],
        )
    return doubtful


def _write_or_remove(table: Path, rows: Sequence[Mapping[str, str]]) -> None:
    if rows:
        write_table_atomically(table, rows)
    else:
        remove(table)


def _volumes(out: Path) -> tuple[list[dict[str, str]], DoubtfulResults]:
    """Return a row for each result in the output folder, and which are doubtful."""
    rows, doubtful = [], DoubtfulResults()
    for path in sorted(filter(is_file, out.rglob(f"*{bids.SIDECAR_SUFFIX}"))):
        if (sidecar := read_sidecar(path)) is not None:
            mask = path.with_suffix(".nii.gz")
            if changes := _changes(mask, sidecar):
                doubtful.changed.append(mask)
            rows.append(_row(sidecar, path.relative_to(out), changes))
        elif is_unreadable_sidecar(path):
            doubtful.unreadable.append(path)
    doubtful.repeated = _mark_repeated(rows)
    return sorted(rows, key=lambda row: (row["scan"], row["output"])), doubtful


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
