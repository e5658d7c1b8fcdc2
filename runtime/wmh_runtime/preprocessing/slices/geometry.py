"""Between the voxel grid of a scan and the slices of the network, in one plane or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.orientation import Reorientation
from wmh_runtime.preprocessing.slices.planes import Plane, from_axial
from wmh_runtime.preprocessing.slices.resampling import SliceResampler, slice_resampler
from wmh_runtime.types import Floats, Mask

_MIN_HEAD_AREA_MM2 = 500.0  # slices with less head are not segmented
_BLOCK = 16  # slices; as many neighbors as a cache line of float32 holds


class Side(NamedTuple):
    """The size of a slice of S × S pixels."""

    size_px: int
    pixel_size_mm: float

    @property
    def length_mm(self) -> float:
        """The field of view along each side."""
        return self.size_px * self.pixel_size_mm


@dataclass(frozen=True)
class PlaneGeometry:
    """Converts between the voxel grid of a scan and the slices of one plane."""

    plane: Plane
    to_axial: Reorientation  # from the grid of the scan to axial slices
    resampler: SliceResampler
    stack_shape: tuple[int, int, int]
    head_slices: NDArray[np.intp]  # (n,) indices of the slices that the network segments
    distance_mm: float  # from a slice to the next

    @property
    def reorientation(self) -> Reorientation:
        """From the grid of the scan to the slices of the plane."""
        return self.to_axial.then(from_axial(self.plane))

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """Voxels of the scan along each of its axes."""
        by_axis = dict(zip(self.reorientation.axes, self.stack_shape, strict=True))
        return by_axis[0], by_axis[1], by_axis[2]

    def of_axial(self, stack: Floats) -> Floats:
        """Resample a stack of axial slices, (z, y, x), to slices of the plane, (n, S, S)."""
        return self.resampler.apply(from_axial(self.plane).apply(stack)[self.head_slices])

    def to_network(self, volume: NDArray[Any]) -> Floats:
        """Resample a volume on the grid of the scan, (x, y, z), to slices, float32 (n, S, S)."""
        stack = self.reorientation.apply(volume)[self.head_slices]
        return self.resampler.apply(stack.astype(np.float32))

    def to_scan(self, probabilities: Floats) -> Floats:
        """Resample probabilities of slices, (n, S, S), to the grid of the scan, (x, y, z)."""
        volume = np.zeros(self.scan_shape, np.float32)
        for stack, part in self._blocks_of(volume):
            stack[...] = np.clip(self.resampler.undo(probabilities[part]), 0, 1)
        return volume

    def field(self) -> Mask:
        """Say which voxels of the scan lie inside the field of view of the slices, (x, y, z)."""
        stack = np.broadcast_to(self.resampler.field, self.stack_shape)
        return self.reorientation.undo(stack)

    def to_scan_numbers(
        self, probabilities: Floats, threshold: float, outputs: Sequence[int]
    ) -> NDArray[np.uint8]:
        """Number the most probable output of each voxel, see `SliceGeometry.to_scan_numbers`."""
        volume = np.zeros(self.scan_shape, np.uint8)
        for stack, part in self._blocks_of(volume):
            numbers = np.zeros(stack.shape, np.uint8)
            highest = np.full(stack.shape, threshold, np.float32)
            for k in outputs:
                resampled = self.resampler.undo(probabilities[part, k])
                numbers[resampled >= highest] = k + 1
                np.maximum(highest, resampled, out=highest)
            stack[...] = numbers
        return volume

    def _blocks_of(self, volume: NDArray[Any]) -> Iterator[tuple[NDArray[Any], slice]]:
        """Yield the slices with head a few at a time, so that little is in memory at once.

        Args:
            volume: (x, y, z), on the grid of the scan.

        Yields:
            A view of neighboring slices of the volume, and which of the slices with head they are.
        """
        stack = self.reorientation.apply(volume)
        gaps = np.flatnonzero(np.diff(self.head_slices) != 1) + 1
        for first, last in pairwise([0, *gaps.tolist(), len(self.head_slices)]):
            for start in range(first, last, _BLOCK):
                part = slice(start, min(start + _BLOCK, last))
                begin = int(self.head_slices[start])
                yield stack[begin : begin + part.stop - part.start], part


@dataclass(frozen=True)
class SliceGeometry:
    """Converts between the voxel grid of a scan and the slices of the network in all planes.

    The slices of the first plane come first.
    """

    planes: tuple[PlaneGeometry, ...]

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """Voxels of the scan along each of its axes."""
        return self.planes[0].scan_shape

    @property
    def slices_by_plane(self) -> list[int]:
        """How many slices the network sees in each plane."""
        return [len(plane.head_slices) for plane in self.planes]

    @property
    def slice_count(self) -> int:
        """Number of slices of the scan in all planes, including slices without head."""
        return sum(plane.stack_shape[0] for plane in self.planes)

    def to_network(self, volume: NDArray[Any]) -> Floats:
        """Resample another volume on the grid of the scan, such as a mask, to network slices.

        Args:
            volume: (x, y, z).

        Returns:
            float32 (n, S, S).
        """
        return np.concatenate([plane.to_network(volume) for plane in self.planes])

    def to_scan(self, probabilities: Floats) -> Floats:
        """Resample probabilities from network slices to the grid of the scan.

        With several planes, the result is the mean of those whose field of view has the voxel.

        Args:
            probabilities: (n, S, S), in [0, 1].

        Returns:
            float32 (x, y, z) in [0, 1]; 0 in slices without head and outside the network's field
            of view.
        """
        by_plane = self._by_plane(probabilities)
        first, own = next(by_plane)
        total = first.to_scan(own)
        if len(self.planes) == 1:
            return total
        for plane, own in by_plane:  # one at a time: each is as large as the scan
            total += plane.to_scan(own)
        total /= np.maximum(self.planes_by_voxel(), 1)
        return total

    def planes_by_voxel(self) -> NDArray[np.uint8]:
        """Count the planes whose field of view has a voxel of the scan, (x, y, z)."""
        counts = np.zeros(self.scan_shape, np.uint8)
        for plane in self.planes:
            counts += plane.field()
        return counts

    def to_scan_numbers(
        self, probabilities: Floats, threshold: float, outputs: Sequence[int]
    ) -> NDArray[np.uint8]:
        """Resample probabilities of several outputs, and number the most probable one of a voxel.

        Args:
            probabilities: (n, K, S, S), in [0, 1].
            threshold: above 0; an output below it does not count.
            outputs: those that are compared, from 0 to K − 1.

        Returns:
            (x, y, z), from 1 to K; 0 where no output counts. Of equal ones, the last is taken.
        """
        if len(self.planes) == 1:
            return self.planes[0].to_scan_numbers(probabilities, threshold, outputs)
        numbers = np.zeros(self.scan_shape, np.uint8)
        highest = np.full(self.scan_shape, threshold, np.float32)
        for k in outputs:
            of_output = self.to_scan(probabilities[:, k])
            numbers[of_output >= highest] = k + 1
            np.maximum(highest, of_output, out=highest)
        return numbers

    def _by_plane(self, slices: Floats) -> Iterator[tuple[PlaneGeometry, Floats]]:
        ends = np.cumsum(self.slices_by_plane)
        return zip(self.planes, np.split(slices, ends[:-1]), strict=True)


def find_slices(
    plane: Plane,
    axial_head: Mask,
    to_axial: Reorientation,
    spacing_mm: tuple[float, float, float],
    path: Path,
    side: Side,
) -> PlaneGeometry:
    """Find the slices of a plane that show the head, and the crop around it.

    Args:
        plane: of the slices.
        axial_head: the head in axial slices, (z, y, x).
        to_axial: from the grid of the scan to axial slices.
        spacing_mm: of the axial slices: along z, y and x.
        path: of the scan, for the error.
        side: size of a slice.

    Raises:
        InputError: no slice shows the head.
    """
    to_plane = from_axial(plane)
    head = to_plane.apply(axial_head)
    distance_mm, y, x = (spacing_mm[axis] for axis in to_plane.axes)
    head_slices = np.flatnonzero(head.sum(axis=(1, 2)) * y * x >= _MIN_HEAD_AREA_MM2)
    if head_slices.size == 0:
        raise InputError(
            f"no {plane} slice shows {_MIN_HEAD_AREA_MM2:.0f} mm² of head",
            "Check that this is a head scan and that its voxel size is correct.",
            about=path,
        )
    resampler = slice_resampler(
        shape=head.shape[1:],
        spacing_mm=(y, x),
        center=_center(plane, head, side.size_px, field_rows=side.length_mm / y),
        size_px=side.size_px,
        pixel_size_mm=side.pixel_size_mm,
    )
    return PlaneGeometry(plane, to_axial, resampler, head.shape, head_slices, distance_mm)


def _center(plane: Plane, head: Mask, size_px: int, field_rows: float) -> tuple[float, float]:
    """Return the middle row and column of the bounding box of the head in all slices.

    It is moved by half a voxel towards the center of mass if otherwise pixels as large as the
    voxels would lie between them. So a mirrored scan has the mirrored slices, unless the head is
    exactly symmetric.

    In sagittal and coronal slices, a head with its neck can be taller than the field of view. Then
    the field of view begins at the top of the head, and the neck is cut.
    """
    middles = []
    for axes in ((0, 2), (0, 1)):
        voxels = head.sum(axis=axes)
        with_head = np.flatnonzero(voxels)
        sum_of_ends = int(with_head[0] + with_head[-1])
        middle = sum_of_ends / 2
        if (sum_of_ends - size_px) % 2 == 0:
            mass = np.average(np.arange(len(voxels)), weights=voxels)
            middle += 0.5 if mass > middle else -0.5
        middles.append(middle)
    rows, columns = middles
    if plane != "axial":
        top = np.flatnonzero(head.any(axis=(0, 2)))[0] - 0.5
        rows = min(rows, top + field_rows / 2)
    return rows, columns
