"""The tables of an output folder: volumes of all that is finished, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import remove
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.outputs.sidecar import read_sidecar

VOLUMES_NAME = "volumes.csv"
FAILURES_NAME = "failures.csv"


def require_replaceable(out: Path) -> None:
    """Find out before any work whether a table is open elsewhere, as spreadsheets lock it.

    Raises:
        InputError: one is.
    """
    for path in (out / VOLUMES_NAME, out / FAILURES_NAME):
        try:
            if path.exists():
                path.open("ab").close()
        except OSError as error:
            raise InputError(
                f"cannot be replaced ({error.strerror or error})",
                "Close it where it is open, or choose another output folder.",
                about=path,
            ) from error


def write_volumes(out: Path) -> None:
    """Write one row for every finished result below the output folder."""
    rows = sorted(_volumes(out), key=lambda row: (row["scan"], row["output"]))
    if rows:
        write_table_atomically(out / VOLUMES_NAME, rows)


def write_failures(out: Path, failed: Sequence[tuple[Case, Exception]]) -> None:
    """Write one row for every scan that failed in this run; no table where none did."""
    rows = [{"scan": scan.relative.as_posix(), "reason": str(why)} for scan, why in failed]
    if rows:
        write_table_atomically(out / FAILURES_NAME, rows)
    else:
        remove(out / FAILURES_NAME)


def _volumes(out: Path) -> Iterator[dict[str, str]]:
    for path in out.rglob(f"*{bids.RECORD_SUFFIX}"):
        record = read_sidecar(path)
        if record is None:
            continue
        settings = record.settings
        folder, output = path.parent.relative_to(out), settings.output
        yield {
            "scan": (folder / record.Sources[0]).as_posix(),
            "output": output.name,
            "volume_ml": f"{record.volume_ml:.4f}",
            "lesion_count": str(record.lesion_count),
            "threshold": f"{output.threshold:g}",
            "min_lesion_mm3": f"{output.min_lesion_mm3:g}",
            "bundle": settings.bundle,
            "model_id": settings.model_id,
            "tta": settings.tta,
            "precision": settings.precision,
            "backend": settings.backend,
            "mask": path.relative_to(out).with_suffix(".nii.gz").as_posix(),
            "warnings": " | ".join(record.warnings),
        }
