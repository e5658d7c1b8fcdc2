"""The one preprocessing of a scan, for training and for inference alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.orientation import Plane, Reorientation, reorientation_to
from wmh_runtime.imageio.volume import Scan, require_same_grid
from wmh_runtime.preprocessing.head_mask import ForegroundRule, head_mask
from wmh_runtime.preprocessing.normalization import normalize
from wmh_runtime.preprocessing.resampling import SquareGrid, square_grid
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, Mask

_SMALLEST_HEAD_AREA_MM2 = 500.0  # a slice that shows less of the head is not worth executing


class Preprocessing(StrictModel):
    """How a scan becomes network input. Part of every recipe and every bundle."""

    plane: Plane = "axial"
    pixel_size_mm: float = Field(gt=0)
    size_px: int = Field(gt=0, description="S: slices are S × S pixels")
    foreground: ForegroundRule = "otsu"
    clip_percentiles: tuple[float, float] = (0.5, 99.5)

    @field_validator("clip_percentiles")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("expected 0 ≤ lower < upper ≤ 100")
        return value


@dataclass(frozen=True)
class Restoration:
    """The way back from network output to the scan's own grid."""

    reorientation: Reorientation
    square: SquareGrid
    stack_shape: tuple[int, int, int]
    slices_run: NDArray[np.intp]

    def squares(self, volume: NDArray[Any]) -> Floats:
        """Resample another volume of the scan's grid, a mask for instance, to the same squares.

        Args:
            volume: (x, y, z).

        Returns:
            float32 (slices run, S, S).
        """
        stack = self.reorientation.apply(volume)[self.slices_run]
        return self.square.apply(stack.astype(np.float32))

    def probability(self, squares: Floats) -> Floats:
        """Put probabilities back where their voxels came from.

        Args:
            squares: (slices run, S, S), in [0, 1].

        Returns:
            float32 (x, y, z) in [0, 1]; 0 in slices without head and beyond the square.
        """
        stack = np.zeros(self.stack_shape, np.float32)
        stack[self.slices_run] = np.clip(self.square.undo(squares), 0, 1)
        return np.ascontiguousarray(self.reorientation.undo(stack))


@dataclass(frozen=True)
class PreprocessedScan:
    """Network input and what it takes to come back."""

    slices: Floats  # (slices run, C, S, S), z-scored, 0 outside the head
    restoration: Restoration
    warnings: tuple[str, ...]

    @property
    def slice_count(self) -> int:
        """How many slices the scan has, with those that hold no head."""
        return self.restoration.stack_shape[0]


def preprocess(channels: Sequence[Scan], preprocessing: Preprocessing) -> PreprocessedScan:
    """Turn the channels of one scan into network input.

    The first channel decides where the head is, and so what is cropped and which slices run.

    Args:
        channels: C scans on one grid.
        preprocessing: from the bundle or the recipe.

    Raises:
        InputError: the channels are not on one grid, or no slice shows a head.
    """
    first = channels[0]
    for other in channels[1:]:
        require_same_grid(other, first)
    reorientation = reorientation_to(preprocessing.plane, first.affine)
    spacing_mm = np.array(first.spacing_mm)[list(reorientation.axes)]
    stacks = [np.ascontiguousarray(reorientation.apply(scan.voxels)) for scan in channels]

    head = head_mask(stacks[0], first.voxel_volume_mm3, preprocessing.foreground)
    area_mm2 = head.sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2]
    slices_run = np.flatnonzero(area_mm2 >= _SMALLEST_HEAD_AREA_MM2)
    if slices_run.size == 0:
        raise InputError(
            f"no {preprocessing.plane} slice shows {_SMALLEST_HEAD_AREA_MM2:.0f} mm² of head",
            "Check that this is a head scan and that its voxel sizes are right.",
            about=first.path,
        )
    square = square_grid(
        shape=head.shape[1:],
        spacing_mm=(float(spacing_mm[1]), float(spacing_mm[2])),
        center=_center(head),
        size_px=preprocessing.size_px,
        pixel_size_mm=preprocessing.pixel_size_mm,
    )
    normalized = [normalize(stack, head, preprocessing.clip_percentiles) for stack in stacks]
    squares = np.stack([square.apply(stack[slices_run]) for stack in normalized], axis=1)
    restoration = Restoration(reorientation, square, head.shape, slices_run)
    return PreprocessedScan(squares, restoration, _crop_warnings(head, square, preprocessing))


def _center(head: Mask) -> tuple[int, int]:
    """Return the middle row and column of the head's bounding box over all slices."""
    rows, columns = (np.flatnonzero(head.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return int(rows[0] + rows[-1]) // 2, int(columns[0] + columns[-1]) // 2


def _crop_warnings(head: Mask, square: SquareGrid, preprocessing: Preprocessing) -> tuple[str, ...]:
    """Say so where the head is larger than the square."""
    covered = np.outer(square.rows_back.any(axis=1), square.columns_back.any(axis=1))
    outside = np.count_nonzero(head & ~covered) / np.count_nonzero(head)
    if outside == 0:
        return ()
    side_mm = preprocessing.size_px * preprocessing.pixel_size_mm
    return (f"{outside:.2%} of the head lies outside the network's {side_mm:.0f} mm field",)
