"""The table of the lesions of a scan, beside the image in which each lesion has its number."""

from __future__ import annotations

from collections.abc import Sequence

from wmh_runtime.files.tables import NOT_AVAILABLE
from wmh_runtime.outputs.sidecar import Lesion
from wmh_runtime.outputs.tables.columns import Column

_PATIENT_AXES = ("left_right", "front_back", "bottom_top")

LESION_COLUMNS = (
    Column("index", "Number of the lesion in the image, the largest first", format="integer"),
    Column("name", "Name of the lesion"),
    Column("volume_mm3", "Volume", "mm^3"),
    *(
        Column(f"{axis}_mm", f"Center of mass, {axis} of the scanner (RAS+)", "mm")
        for axis in ("x", "y", "z")
    ),
    *(
        Column(
            f"extent_{axis}_mm",
            f"Length of the box around the lesion along the voxel axis that is closest to"
            f" {axis.replace('_', '-')} of the patient",
            "mm",
        )
        for axis in _PATIENT_AXES
    ),
    Column("mean_probability", "Mean of the probabilities of its voxels, 0 to 1"),
    Column("largest_slice", "Axial slice with most of it, from 1 at the most inferior one"),
    Column(
        "location", "Where most of it lies: periventricular, deep, juxtacortical, infratentorial"
    ),
    Column("side", "Side of the symmetry plane of the brain that most of it lies on"),
    Column("atlas_region", "Region of the given atlas that most of it lies in"),
    Column("atlas_share", "Share of its volume in that region, 0 to 1"),
)


def lesion_rows(lesions: Sequence[Lesion]) -> list[dict[str, object]]:
    """Return the row of each lesion; what is not known is n/a."""
    rows = []
    for number, lesion in enumerate(lesions, start=1):
        cells = [
            number,
            f"lesion {number}",
            f"{lesion.volume_mm3:g}",
            *(f"{mm:g}" for mm in lesion.center_ras_mm),
            *((f"{mm:g}" for mm in lesion.extent_mm) if lesion.extent_mm else [None] * 3),
            lesion.mean_probability,
            lesion.largest_slice,
            lesion.location,
            lesion.side,
            lesion.atlas_region,
            lesion.atlas_share,
        ]
        rows.append(
            {
                column.name: NOT_AVAILABLE if cell is None else cell
                for column, cell in zip(LESION_COLUMNS, cells, strict=True)
            }
        )
    return rows
