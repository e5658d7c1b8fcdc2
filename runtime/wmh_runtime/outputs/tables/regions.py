"""Tables of lesions by region: one of each scan, and a wide one of all scans of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.outputs.sidecar import RegionResult

REGIONS_NAME = "regions.csv"
_NOT_AVAILABLE = "n/a"  # as BIDS has it
_BOTH = "both"


def write_region_table(path: Path, regions: Sequence[RegionResult]) -> None:
    """Write the table of one output of a scan, with a row for each region and side.

    Raises:
        InputError: it cannot be written.
    """
    rows = [
        {
            "scheme": one.scheme,
            "region": one.region,
            "side": one.side or _BOTH,
            "region_ml": _text(one.region_ml),
            "lesion_ml": _text(one.lesion_ml),
            "lesion_percent": _text(_percent(one)),
            "lesion_count": str(one.lesion_count),
        }
        for one in regions
    ]
    write_table_atomically(path, rows, delimiter="\t")


def wide_cells(regions: Iterable[RegionResult]) -> dict[str, str]:
    """Return the cells of a scan in the wide table, such as `brain.white.left.lesion_ml`."""
    cells: dict[str, str] = {}
    for one in regions:
        name = ".".join(part for part in (one.scheme, one.region, one.side) if part)
        if one.region_ml is not None:
            cells[f"{name}.region_ml"] = _text(one.region_ml)
        cells[f"{name}.lesion_ml"] = _text(one.lesion_ml)
        cells[f"{name}.lesion_count"] = str(one.lesion_count)
    return cells


def _percent(one: RegionResult) -> float | None:
    return 100 * one.lesion_ml / one.region_ml if one.region_ml else None


def _text(value: float | None) -> str:
    return _NOT_AVAILABLE if value is None else f"{value:.4f}"
