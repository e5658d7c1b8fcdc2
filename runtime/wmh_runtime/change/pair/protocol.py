"""How the protocols of two scans differ: size of the voxels, parameters of the scanner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wmh_runtime.change.visits import VisitImages

_ALIKE = 0.1  # relative: sizes of voxels within 10 % are one protocol


def protocol_differences(before: VisitImages, after: VisitImages) -> Iterator[str]:
    """Yield what differs between two scans, such as "voxels of 1 × 1 × 3 and 1 × 1 × 5 mm"."""
    sizes = (sorted(visit.scan.spacing_mm) for visit in (before, after))
    if any(abs(one - other) > _ALIKE * max(one, other) for one, other in zip(*sizes, strict=True)):
        yield f"voxels of {_size(before.scan.spacing_mm)} and {_size(after.scan.spacing_mm)} mm"
    yield from before.acquisition.differences(after.acquisition)


def _size(spacing_mm: Sequence[float]) -> str:
    return " × ".join(f"{mm:.2g}" for mm in spacing_mm)
