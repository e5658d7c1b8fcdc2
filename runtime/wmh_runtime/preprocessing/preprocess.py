"""Preprocess a scan: the same code for training and inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.orientation import Reorientation, axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.preprocessing.channels import (
    align_channels,
    first_present,
    overlap_warnings,
    similarity_warnings,
)
from wmh_runtime.preprocessing.head_mask import find_head, gap_warnings, size_warnings
from wmh_runtime.preprocessing.intensity.background import constant_background
from wmh_runtime.preprocessing.intensity.bias_correction import (
    correct_bias,
    require_bias_correction,
)
from wmh_runtime.preprocessing.intensity.normalization import (
    normalize,
    normalize_to_percentiles,
    normalize_to_white_matter,
)
from wmh_runtime.preprocessing.similarity import shared_information
from wmh_runtime.preprocessing.slices.context import with_neighbors
from wmh_runtime.preprocessing.slices.resampling import SliceResampler, slice_resampler
from wmh_runtime.preprocessing.slices.slab import average_thin_slices, slab_distance
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, Mask, NetworkShape

_Value = TypeVar("_Value", bound=np.generic)

_MIN_HEAD_AREA_MM2 = 500.0  # slices with less head are not segmented
_MAX_OUTSIDE_SHARE = 0.001  # of the head: skin and nose


class Preprocessing(StrictModel):
    """Settings of the preprocessing. Part of every recipe and every bundle."""

    pixel_size_mm: float = Field(gt=0)
    size_px: int = Field(gt=0, description="S: slices are S × S pixels")
    normalization: Literal["z-score", "white-matter", "percentile"] = "z-score"
    clip_percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5), description="of the head, for z-score and percentile"
    )
    bias_correction: Literal["none", "n4"] = Field(
        default="none", description="before the normalization; n4 needs SimpleITK"
    )
    context_slices: int = Field(
        default=0, ge=0, description="neighbors above and below a slice that the network sees too"
    )
    slab_mm: float = Field(
        default=0, ge=0, description="thinner slices are averaged with their neighbors up to this"
    )

    def network_shape(self, images: int, outputs: int) -> NetworkShape:
        """Return C, K and S of a network.

        Args:
            images: per case, such as 1 for FLAIR only.
            outputs: K.
        """
        return NetworkShape(images * (1 + 2 * self.context_slices), outputs, self.size_px)

    def require_installed(self) -> None:
        """Refuse settings that need a library that is not installed; InputError."""
        if self.bias_correction == "n4":
            require_bias_correction()

    @field_validator("clip_percentiles")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("expected 0 ≤ lower < upper ≤ 100")
        return value


@dataclass(frozen=True)
class SliceGeometry:
    """Converts between the voxel grid of a scan and the slices of the network."""

    reorientation: Reorientation
    resampler: SliceResampler
    stack_shape: tuple[int, int, int]
    head_slices: NDArray[np.intp]  # (n,) indices of the slices that the network segments

    def to_network(self, volume: NDArray[Any]) -> Floats:
        """Resample another volume on the grid of the scan, such as a mask, to network slices.

        Args:
            volume: (x, y, z).

        Returns:
            float32 (n, S, S).
        """
        stack = self.reorientation.apply(volume)[self.head_slices]
        return self.resampler.apply(stack.astype(np.float32))

    def to_scan(self, probabilities: Floats) -> Floats:
        """Resample probabilities from network slices to the grid of the scan.

        Args:
            probabilities: (n, S, S), in [0, 1].

        Returns:
            float32 (x, y, z) in [0, 1]; 0 in slices without head and outside the network's field
            of view.
        """
        stack = np.zeros(self.stack_shape, np.float32)
        stack[self.head_slices] = np.clip(self.resampler.undo(probabilities), 0, 1)
        return np.ascontiguousarray(self.reorientation.undo(stack))

    def to_scan_numbers(self, probabilities: Floats, threshold: float) -> NDArray[np.uint8]:
        """Resample probabilities of several outputs, and number the most probable one of a voxel.

        Args:
            probabilities: (n, K, S, S), in [0, 1].
            threshold: above 0; an output below it does not count.

        Returns:
            (x, y, z), from 1 to K; 0 where no output counts. Of equal ones, the last is taken.
        """
        numbers = np.zeros(self.stack_shape, np.uint8)
        found = numbers[self.head_slices]
        highest = np.full(found.shape, threshold, np.float32)
        for k in range(probabilities.shape[1]):
            resampled = self.resampler.undo(probabilities[:, k])
            found[resampled >= highest] = k + 1
            np.maximum(highest, resampled, out=highest)
        numbers[self.head_slices] = found
        return np.ascontiguousarray(self.reorientation.undo(numbers))


@dataclass(frozen=True)
class PreprocessedScan:
    """Network input, and the conversion of network output back to the scan."""

    channels: tuple[Scan | None, ...]  # C, on the grid of the first one that is there
    slices: Floats  # (n, C, S, S), normalized, 0 outside the head, with neighbors
    neighbor_distance: int  # from a slice to its neighbors, in slices
    geometry: SliceGeometry
    head: Mask  # (x, y, z), on the grid of the scan
    warnings: tuple[str, ...]  # about the images, the head and cropping

    @property
    def scan(self) -> Scan:
        """The first channel that is there, as read. The result has its grid."""
        return first_present(self.channels)

    @property
    def slice_count(self) -> int:
        """Number of slices of the scan, including slices without head."""
        return self.geometry.stack_shape[0]


def preprocess(channels: Sequence[Scan | None], preprocessing: Preprocessing) -> PreprocessedScan:
    """Convert the channels of one case to network input.

    The first channel that is there has the grid of the result. The head is found in it, and
    determines the crop and the slices to segment. The others are brought to its grid.

    Args:
        channels: C scans of one head; None for one that is missing.
        preprocessing: settings from the bundle or the recipe.

    Raises:
        InputError: no channel is there, no slice shows a head, or a channel shows nothing of it, or
            its bias field cannot be corrected.
    """
    first = first_present(channels)
    reorientation = axial_reorientation(first.affine)
    z, y, x = (float(mm) for mm in np.array(first.spacing_mm)[list(reorientation.axes)])

    def to_stack(volume: NDArray[_Value]) -> NDArray[_Value]:
        return np.ascontiguousarray(reorientation.apply(volume))

    first_stack = to_stack(first.voxels)
    found = find_head(first_stack, first.voxel_volume_mm3)
    head = found.mask
    area_mm2 = head.sum(axis=(1, 2)) * y * x
    head_slices = np.flatnonzero(area_mm2 >= _MIN_HEAD_AREA_MM2)
    if head_slices.size == 0:
        raise InputError(
            f"no axial slice shows {_MIN_HEAD_AREA_MM2:.0f} mm² of head",
            "Check that this is a head scan and that its voxel size is correct.",
            about=first.path,
        )
    resampler = slice_resampler(
        shape=head.shape[1:],
        spacing_mm=(y, x),
        center=_center(head, preprocessing.size_px),
        size_px=preprocessing.size_px,
        pixel_size_mm=preprocessing.pixel_size_mm,
    )
    aligned = align_channels(channels)
    size = preprocessing.size_px
    slices = np.zeros((len(head_slices), len(channels), size, size), np.float32)
    dissimilar, about_bias = list[str](), list[str]()
    for index, match in enumerate(aligned):
        if match is None:
            continue
        is_first = match.scan is first
        stack = first_stack if is_first else to_stack(match.scan.voxels)
        background = found.background if is_first else constant_background(stack)
        if match.covered is not None:
            background |= ~to_stack(match.covered)
        if background[head].all():
            raise InputError(
                f"shows nothing of the head in {first.path.name}",
                "Check that both are of the same visit, in the same space.",
                about=match.scan.path,
            )
        if not is_first:
            similarity = shared_information(first_stack, stack, head & ~background)
            dissimilar += similarity_warnings(similarity, match.scan, first)
        if preprocessing.bias_correction == "n4":
            stack, lines = correct_bias(stack, head & ~background, (z, y, x), match.scan.path)
            about_bias += lines
        normalized = _normalize(stack, head, background, (z, y, x), preprocessing)
        slices[:, index] = resampler.apply(normalized[head_slices])
    matches = [match for match in aligned if match is not None]
    head_in_scan = np.ascontiguousarray(reorientation.undo(head))
    slices = average_thin_slices(slices, z, preprocessing.slab_mm)
    neighbor_distance = slab_distance(z, preprocessing.slab_mm)
    return PreprocessedScan(
        channels=tuple(None if match is None else match.scan for match in aligned),
        slices=with_neighbors(
            slices, np.arange(len(slices)), preprocessing.context_slices, neighbor_distance
        ),
        neighbor_distance=neighbor_distance,
        geometry=SliceGeometry(reorientation, resampler, head.shape, head_slices),
        head=head_in_scan,
        warnings=(
            *(warning for match in matches for warning in match.scan.warnings),
            *(line for one in matches for line in overlap_warnings(one, first, head_in_scan)),
            *dissimilar,
            *about_bias,
            *found.warnings,
            *size_warnings(head, (y, x)),
            *gap_warnings(head_slices),
            *_crop_warnings(head, resampler, preprocessing),
        ),
    )


def _normalize(
    stack: Floats,
    head: Mask,
    background: Mask,
    spacing_mm: tuple[float, float, float],
    preprocessing: Preprocessing,
) -> Floats:
    if preprocessing.normalization == "white-matter":
        return normalize_to_white_matter(stack, head, background, spacing_mm)
    by_percentiles = {"z-score": normalize, "percentile": normalize_to_percentiles}
    function = by_percentiles[preprocessing.normalization]
    return function(stack, head, background, preprocessing.clip_percentiles)


def _center(head: Mask, size_px: int) -> tuple[float, float]:
    """Return the middle row and column of the bounding box of the head in all slices.

    It is moved by half a voxel towards the center of mass if otherwise pixels as large as the
    voxels would lie between them. So a mirrored scan has the mirrored slices, unless the head is
    exactly symmetric.
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
    return rows, columns


def _crop_warnings(
    head: Mask, resampler: SliceResampler, preprocessing: Preprocessing
) -> tuple[str, ...]:
    """Warn if the head is larger than the network's field of view."""
    covered = np.outer(resampler.rows_back.any(axis=1), resampler.columns_back.any(axis=1))
    outside = np.count_nonzero(head & ~covered) / np.count_nonzero(head)
    if outside <= _MAX_OUTSIDE_SHARE:
        return ()
    side_mm = preprocessing.size_px * preprocessing.pixel_size_mm
    return (
        f"{outside:.1%} of the head lies outside the network's {side_mm:.0f} mm field:"
        " lesions there are not found",
    )
