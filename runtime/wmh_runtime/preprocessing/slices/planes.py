"""The planes in which a network sees a scan: axial, and sagittal and coronal if voxels allow it.

With thick slices, sagittal and coronal images are coarse. They still helped on heads with slices of
up to 6 mm, see benchmarks/README.md; scans with thicker ones are segmented in axial slices only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from wmh_runtime.imageio.orientation import Reorientation

Plane: TypeAlias = Literal["axial", "sagittal", "coronal"]
PLANES: tuple[Plane, ...] = get_args(Plane)

THICKEST_MM = 6.0  # measured up to it; with thicker slices, only axial ones are segmented
_DECIMALS = 3  # the voxels of a tilted scan are not exactly as long as the protocol says

# From a stack of axial slices to that of a plane. Axial slices go from bottom to top, their rows
# to the back and their columns to the left. The rows of the other planes go from top to bottom.
_FROM_AXIAL = {
    "axial": Reorientation((0, 1, 2), (False, False, False)),
    "sagittal": Reorientation((2, 0, 1), (False, True, False)),
    "coronal": Reorientation((1, 0, 2), (False, True, False)),
}


def from_axial(plane: Plane) -> Reorientation:
    """Return the reorientation from a stack of axial slices to one of a plane."""
    return _FROM_AXIAL[plane]


def planes_text(planes: Sequence[Plane]) -> str:
    """Describe the slices of these planes, such as "axial, sagittal and coronal slices"."""
    *others, last = planes
    return f"{', '.join(others)} and {last} slices" if others else f"{last} slices"


def slice_count(planes: Sequence[Plane], axial_shape: tuple[int, int, int]) -> int:
    """Count the slices in some planes of a stack of axial slices with this shape, (z, y, x)."""
    return sum(axial_shape[_FROM_AXIAL[plane].axes[0]] for plane in planes)


def thick_slices_warnings(
    planes: Sequence[Plane], spacing_mm: tuple[float, float, float]
) -> tuple[str, ...]:
    """Warn if a network for several planes segments a scan in its first one only.

    Args:
        planes: of the network.
        spacing_mm: of the voxels of the scan.
    """
    if planes_of(planes, spacing_mm) == tuple(planes):
        return ()
    return (
        f"segmented in {planes[0]} slices only, not in {planes_text(planes)}: voxels are"
        f" {max(spacing_mm):.3g} mm long, at most {THICKEST_MM:g} are expected",
    )


def planes_of(planes: Sequence[Plane], spacing_mm: tuple[float, float, float]) -> tuple[Plane, ...]:
    """Return the planes in which a scan is segmented.

    Args:
        planes: of the network.
        spacing_mm: of the voxels of the scan.

    Returns:
        All planes; only the first one if the voxels are longer than `THICKEST_MM`.
    """
    is_thin = round(max(spacing_mm), _DECIMALS) <= THICKEST_MM
    return tuple(planes) if is_thin else tuple(planes[:1])
