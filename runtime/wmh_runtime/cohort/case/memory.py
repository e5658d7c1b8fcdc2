"""Bound the memory of a run: how much a scan needs, and whether one more fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from wmh_runtime.errors import InputError
from wmh_runtime.files.case_failure import MORE_MEMORY
from wmh_runtime.imageio.nifti_header import Affine, Shape, spacing_mm_from_affine
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.machine import free_bytes
from wmh_runtime.preprocessing.slices.planes import Plane, planes_of, slice_count
from wmh_runtime.types import NetworkShape

_FLOAT_BYTES = 4
# In float32, with some room; benchmarks/README.md has what was measured from reading to writing.
_COPIES_OF_SLICES = 3  # of each image, before they are the network's input
_ROOM_FOR_SLICES = 1.1
_COPIES_OF_VOXELS = 5.0
_COPIES_OF_FURTHER_VOXELS = 1.5  # for each further image or output
_COPIES_OF_OTHERS = 3.0  # of their voxels: as read, averaged, and some room
_COPIES_TO_REGISTER = 5.0  # of their voxels, besides
_BYTES_OF_PICTURES = 100_000_000  # and of the libraries that draw them
_SHARE_OF_FREE_MEMORY = 0.8  # the rest is for the file cache and for other programs


def memory_for_scans() -> int:
    """Return how many bytes scans may take now."""
    return int(_SHARE_OF_FREE_MEMORY * free_bytes())


class MemoryBudget:
    """Decides whether one more scan fits into memory.

    The free memory is read again each time: the network takes its own only when it runs.

    Args:
        free: returns the bytes that scans may still take.
    """

    def __init__(self, free: Callable[[], int] = memory_for_scans) -> None:
        self._free = free
        self._total = free()

    def refusal(self, needed_bytes: int) -> InputError | None:
        """Return an error if a scan does not fit even alone."""
        if needed_bytes <= self._total:
            return None
        needed, free = format_gb(needed_bytes), format_gb(self._total)
        return InputError(f"needs about {needed} GB of memory, {free} are free", MORE_MEMORY)

    def has_room(self, needed_bytes: int, taken_bytes: int) -> bool:
        """Say whether a scan fits into memory in addition to those that are being processed."""
        # Approximate: they have not taken all of their memory yet.
        return taken_bytes + needed_bytes <= min(self._total, self._free() + taken_bytes)


def format_gb(count: int) -> str:
    """Write a number of bytes in GB (10⁹ bytes), with two digits below ten."""
    return f"{count / 1e9:.2g}" if count < 10e9 else f"{count / 1e9:.0f}"


def estimate_scan_bytes(
    shape: Shape,
    affine: Affine,
    network: NetworkShape,
    *,
    images: int,
    outputs: int,
    planes: Sequence[Plane] = ("axial",),
    other_shapes: Sequence[Shape] = (),
    registered_shapes: Sequence[Shape] = (),
    region_network: NetworkShape | None = None,
    region_planes: Sequence[Plane] = ("axial",),
) -> int:
    """Estimate the memory that a scan needs from reading to writing, in bytes.

    Args:
        shape: voxels along each axis.
        affine: (4, 4), of the scan.
        network: C, K and S.
        images: number of images of a case; each has as many channels as slices are seen at once.
        outputs: how many of the K outputs are of lesions, not of regions.
        planes: in which the network sees a scan.
        other_shapes: of further images and an atlas, before they are brought to the grid of the
            scan.
        registered_shapes: of further images that are registered.
        region_network: C, K and S of another network that finds the regions.
        region_planes: of that network.
    """
    reorientation = axial_reorientation(affine)
    axial_shape = reorientation.order(shape)
    spacing_mm = reorientation.order(spacing_mm_from_affine(affine))

    def pixels(one: NetworkShape, its_planes: Sequence[Plane]) -> int:
        slices = slice_count(planes_of(its_planes, spacing_mm), axial_shape)
        before_input = _COPIES_OF_SLICES * min(images, one.channels)
        return slices * one.size_px**2 * (one.channels + max(before_input, one.outputs))

    slice_pixels = pixels(network, planes)
    if region_network is not None:
        slice_pixels += pixels(region_network, region_planes)
    further = images - 1 + max(0, outputs - 1)
    copies = _COPIES_OF_VOXELS + _COPIES_OF_FURTHER_VOXELS * further
    others = _COPIES_OF_OTHERS * sum(map(math.prod, [*other_shapes, *registered_shapes]))
    others += _COPIES_TO_REGISTER * sum(map(math.prod, registered_shapes))
    floats = _ROOM_FOR_SLICES * slice_pixels + copies * math.prod(shape) + others
    return int(_FLOAT_BYTES * floats) + _BYTES_OF_PICTURES
