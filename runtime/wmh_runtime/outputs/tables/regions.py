"""Tables of lesions by region: one of each scan, and a wide one of all scans of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.files.atomic import write_json_atomically
from wmh_runtime.files.tables import NOT_AVAILABLE, write_table_atomically
from wmh_runtime.outputs.sidecar import RegionResult
from wmh_runtime.outputs.tables.columns import Column, dictionary

REGIONS_NAME = "regions.csv"
_BOTH = "both"
_SIDES = {_BOTH: "the whole region", "left": "of the symmetry plane", "right": "of that plane"}
_REGION_ML, _LESION_ML, _LESION_COUNT = "region_ml", "lesion_ml", "lesion_count"
_MEASURES = {
    _REGION_ML: ("volume of the region", "mL"),
    _LESION_ML: ("volume of the lesions in it", "mL"),
    _LESION_COUNT: ("number of lesions of which most lies in it", ""),
}
_SCHEMES = {
    "location_10mm": "locations, with periventricular up to 10 mm from the lateral ventricles",
    "location_3mm": "locations, with periventricular up to 3 mm from the lateral ventricles",
    "brain": "regions that the network predicts",
    "atlas": "regions of the atlas that was given",
}
_NO_VALUE = f"; {NOT_AVAILABLE} if it is not known"

_COLUMNS = (
    Column("scheme", "What divides the brain", levels=_SCHEMES),
    Column("region", "Region; none: what no region covers"),
    Column("side", "Half of the brain", levels=_SIDES),
    Column(_REGION_ML, f"Volume of the region{_NO_VALUE}", "mL"),
    Column(_LESION_ML, "Volume of the lesions in it", "mL"),
    Column("lesion_percent", f"Lesions in percent of the region{_NO_VALUE}", "percent"),
    Column(_LESION_COUNT, "Number of lesions of which most lies in it"),
)


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
            _REGION_ML: _text(one.region_ml),
            _LESION_ML: _text(one.lesion_ml),
            "lesion_percent": _text(_percent(one)),
            _LESION_COUNT: str(one.lesion_count),
        }
        for one in regions
    ]
    write_table_atomically(path, rows, delimiter="\t")
    write_json_atomically(bids.sidecar_of(path), dictionary(_COLUMNS))


def wide_cells(regions: Iterable[RegionResult]) -> dict[Column, str]:
    """Return the cells of a scan in the wide table, such as that of `brain.cortex.left.lesion_ml`.

    A region whose volume is not known has no cell for it.
    """
    return {
        _wide_column(one, measure): _text(value)
        for one in regions
        for measure, value in (
            (_REGION_ML, one.region_ml),
            (_LESION_ML, one.lesion_ml),
            (_LESION_COUNT, one.lesion_count),
        )
        if value is not None
    }


def _wide_column(one: RegionResult, measure: str) -> Column:
    words, units = _MEASURES[measure]
    side = f", {one.side} half" if one.side else ""
    name = ".".join(part for part in (one.scheme, one.region, one.side, measure) if part)
    scheme = _SCHEMES.get(one.scheme, one.scheme)
    return Column(name, f"{one.region}{side}: {words} ({scheme})", units)


def _percent(one: RegionResult) -> float | None:
    return 100 * one.lesion_ml / one.region_ml if one.region_ml else None


def _text(value: float | None) -> str:
    if value is None:
        return NOT_AVAILABLE
    return str(value) if isinstance(value, int) else f"{value:.4f}"
