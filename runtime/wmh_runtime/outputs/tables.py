"""The tables of an output folder: the volumes of all results, and the failures of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
                f"cannot be replaced ({error.strerror or error})",
                "Close it in other programs, or choose another output folder.",
                about=path,
            ) from error


def write_tables(out: Path, failed: Sequence[tuple[Case, Exception]]) -> None:
    """Write both tables. If one cannot be written, the other still is.

    Args:
        out: output folder.
        failed: the cases that failed in this run, each with the reason.

    Raises:
        InputError: a table cannot be written.
    """
    with ExitStack() as both:
        both.callback(_write_volumes, out)
        both.callback(_write_failures, out, failed)


def _write_volumes(out: Path) -> None:
    """Write one row for each result in the output folder."""
    rows = sorted(_volumes(out), key=lambda row: (row["scan"], row["output"]))
    if rows:
        write_table_atomically(out / VOLUMES_NAME, rows)


def _write_failures(out: Path, failed: Sequence[tuple[Case, Exception]]) -> None:
    """Write one row for each failure; without failures there is no table."""
    rows = [{"scan": scan.relative.as_posix(), "reason": str(why)} for scan, why in failed]
    if rows:
        write_table_atomically(out / FAILURES_NAME, rows)
    else:
        remove(out / FAILURES_NAME)


def _volumes(out: Path) -> Iterator[dict[str, str]]:
    for path in out.rglob(f"*{bids.SIDECAR_SUFFIX}"):
        sidecar = read_sidecar(path)
        if sidecar is None:
            continue
        settings = sidecar.settings
        folder, output = path.parent.relative_to(out), settings.output
        yield {
            "scan": (folder / sidecar.Sources[0]).as_posix(),
            "output": output.name,
            "volume_ml": f"{sidecar.volume_ml:.4f}",
            "lesion_count": str(sidecar.lesion_count),
            "threshold": f"{output.threshold:g}",
            "min_lesion_mm3": f"{output.min_lesion_mm3:g}",
            "bundle": settings.bundle,
            "model_id": settings.model_id,
            "tta": settings.tta,
            "precision": settings.precision,
            "backend": settings.backend,
            "mask": path.relative_to(out).with_suffix(".nii.gz").as_posix(),
            "warnings": " | ".join(sidecar.warnings),
        }
