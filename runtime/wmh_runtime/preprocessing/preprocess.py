"""Preprocess a scan: the same code for training and inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

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
from wmh_runtime.preprocessing.slices.geometry import (
    Side,
    SliceGeometry,
    find_slices,
)
from wmh_runtime.preprocessing.slices.planes import Plane, planes_of, thick_slices_warnings
from wmh_runtime.preprocessing.slices.slab import average_thin_slices, slab_distance
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, Mask, NetworkShape

_Value = TypeVar("_Value", bound=np.generic)

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
    planes: tuple[Plane, ...] = Field(
        default=("axial",), min_length=1, description="slices that the network sees; axial first"
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

    @property
    def side(self) -> Side:
        """The size of a slice."""
        return Side(self.size_px, self.pixel_size_mm)

    @field_validator("planes")
    @classmethod
    def _axial_first(cls, value: tuple[Plane, ...]) -> tuple[Plane, ...]:
        if value[0] != "axial" or len(set(value)) != len(value):
            raise ValueError("expected axial first, and each plane once")
        return value

    @field_validator("clip_percentiles")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("expected 0 ≤ lower < upper ≤ 100")
        return value


@dataclass(frozen=True)
class PreprocessedScan:
    """Network input, and the conversion of network output back to the scan."""

    channels: tuple[Scan | None, ...]  # C, on the grid of the first one that is there
    slices: Floats  # (n, C, S, S), normalized, 0 outside the head, with neighbors
    neighbor_distances: tuple[int, ...]  # from a slice to its neighbors, in slices, by plane
    geometry: SliceGeometry
    head: Mask  # (x, y, z), on the grid of the scan
    background: Mask  # (x, y, z); constant, not measured
    warnings: tuple[str, ...]  # about the images, the head and cropping

    @property
    def scan(self) -> Scan:
        """The first channel that is there, as read. The result has its grid."""
        return first_present(self.channels)

    def without_slices(self) -> PreprocessedScan:
        """Return it without the network input, which nothing needs after the prediction."""
        return replace(self, slices=self.slices[:0].copy())

    @property
    def slices_by_plane(self) -> list[int]:
        """How many of the slices are of each plane; those of the first plane come first."""
        return self.geometry.slices_by_plane

    @property
    def slice_count(self) -> int:
        """Number of slices of the scan in all planes, including slices without head."""
        return self.geometry.slice_count


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
    spacing_mm = reorientation.order(first.spacing_mm)

    first_stack = _to_stack(first.voxels, reorientation)
    found = find_head(first_stack, first.voxel_volume_mm3)
    head = found.mask
    geometry = _find_geometry(first, head, preprocessing)
    planes = geometry.planes
    aligned = align_channels(channels)
    size = preprocessing.size_px
    parts = [
        np.zeros((len(one.head_slices), len(channels), size, size), np.float32) for one in planes
    ]
    dissimilar, about_bias = list[str](), list[str]()
    for index, match in enumerate(aligned):
        if match is None:
            continue
        is_first = match.scan is first
        stack = first_stack if is_first else _to_stack(match.scan.voxels, reorientation)
        background = found.background if is_first else constant_background(stack)
        if match.covered is not None:
            background |= ~_to_stack(match.covered, reorientation)
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
            stack, lines = correct_bias(stack, head & ~background, spacing_mm, match.scan.path)
            about_bias += lines
        normalized = _normalize(stack, head, background, spacing_mm, preprocessing)
        for plane, slices in zip(planes, parts, strict=True):
            slices[:, index] = plane.of_axial(normalized)
    matches = [match for match in aligned if match is not None]
    head_in_scan = np.ascontiguousarray(reorientation.undo(head))
    distances = tuple(slab_distance(plane.distance_mm, preprocessing.slab_mm) for plane in planes)
    return PreprocessedScan(
        channels=tuple(None if match is None else match.scan for match in aligned),
        slices=_network_input(parts, geometry, distances, preprocessing),
        neighbor_distances=distances,
        geometry=geometry,
        head=head_in_scan,
        background=np.ascontiguousarray(reorientation.undo(found.background)),
        warnings=(
            *(warning for match in matches for warning in match.scan.warnings),
            *(line for one in matches for line in overlap_warnings(one, first, head_in_scan)),
            *dissimilar,
            *about_bias,
            *found.warnings,
            *size_warnings(head, spacing_mm[1:]),
            *thick_slices_warnings(preprocessing.planes, spacing_mm),
            *gap_warnings(planes[0].head_slices),
            *_crop_warnings(head_in_scan, geometry, preprocessing.side),
        ),
    )


def find_geometry(first: Scan, preprocessing: Preprocessing) -> SliceGeometry:
    """Find the slices of a scan without computing them, for masks on its grid.

    Args:
        first: the first channel that is there.
        preprocessing: settings from the bundle or the recipe.

    Raises:
        InputError: no slice shows a head.
    """
    stack = _to_stack(first.voxels, axial_reorientation(first.affine))
    head = find_head(stack, first.voxel_volume_mm3).mask
    return _find_geometry(first, head, preprocessing)


def _to_stack(volume: NDArray[_Value], reorientation: Reorientation) -> NDArray[_Value]:
    """Return a volume (x, y, z) as (slices, rows, columns), one slice after another in memory."""
    stack = reorientation.apply(volume)
    strides = [abs(step) for step in stack.strides]
    # If it already is, perhaps backwards, a copy would only take memory.
    return stack if strides == sorted(strides, reverse=True) else np.ascontiguousarray(stack)


def _find_geometry(first: Scan, axial_head: Mask, preprocessing: Preprocessing) -> SliceGeometry:
    reorientation = axial_reorientation(first.affine)
    spacing_mm = reorientation.order(first.spacing_mm)
    planes = (
        find_slices(plane, axial_head, reorientation, spacing_mm, first.path, preprocessing.side)
        for plane in planes_of(preprocessing.planes, spacing_mm)
    )
    return SliceGeometry(tuple(planes))


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


def _network_input(
    parts: Sequence[Floats],
    geometry: SliceGeometry,
    distances: Sequence[int],
    preprocessing: Preprocessing,
) -> Floats:
    """Average thin slices, and add the neighbors of each slice as channels.

    Args:
        parts: the slices of each plane, (n, images, S, S).
        geometry: of the scan.
        distances: from a slice to its neighbors, in slices, by plane.
        preprocessing: settings.

    Returns:
        (slices of all planes, C, S, S).
    """
    context = preprocessing.context_slices
    _, images, *size = parts[0].shape
    shape = (sum(map(len, parts)), images * (1 + 2 * context), *size)
    slices_of_all, start = np.empty(shape, np.float32), 0
    for plane, slices, distance in zip(geometry.planes, parts, distances, strict=True):
        averaged = average_thin_slices(slices, plane.distance_mm, preprocessing.slab_mm)
        own = slices_of_all[start : start + len(slices)]
        with_neighbors(averaged, np.arange(len(slices)), context, distance, out=own)
        start += len(slices)
    return slices_of_all


def _crop_warnings(head: Mask, geometry: SliceGeometry, side: Side) -> tuple[str, ...]:
    """Warn if a part of the head is in the network's field of view in no plane."""
    outside = np.count_nonzero(head & (geometry.planes_by_voxel() == 0)) / np.count_nonzero(head)
    if outside <= _MAX_OUTSIDE_SHARE:
        return ()
    return (
        f"{outside:.1%} of the head lies outside the network's {side.length_mm:.0f} mm field:"
        " lesions there are not found",
    )
