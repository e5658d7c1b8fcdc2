"""How the protocols of two scans differ: size of the voxels, parameters of the scanner."""

from __future__ import annotations

from collections.abc import Iterator

from nibabel.orientations import io_orientation

from wmh_runtime.change.visits import VisitImages
from wmh_runtime.imageio.volume import Scan

_ALIKE = 0.1  # relative: sizes of voxels within 10 % are one protocol


def protocol_differences(before: VisitImages, after: VisitImages) -> Iterator[str]:
    """Yield what differs between two scans, such as "voxels of 1 × 1 × 3 and 1 × 1 × 5 mm"."""
    sizes = [_size_in_head(visit.scan) for visit in (before, after)]
    if any(abs(one - other) > _ALIKE * max(one, other) for one, other in zip(*sizes, strict=True)):
        texts = [" × ".join(f"{mm:.2g}" for mm in size) for size in sizes]
        yield f"voxels of {texts[0]} and {texts[1]} mm"
    yield from before.acquisition.differences(after.acquisition)


def _size_in_head(scan: Scan) -> list[float]:
    """Return the edges of a voxel in mm: from left to right, back to front, bottom to top."""
    axes = io_orientation(scan.affine)[:, 0].astype(int)
    size = [0.0, 0.0, 0.0]
    for axis, mm in zip(axes, scan.spacing_mm, strict=True):
        size[axis] = mm
    return size
