"""The anatomy of a synthetic head: a label map that was turned, scaled and warped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import edt
import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.errors import InputError
from wmh_train.recipe.synthesis import AnatomySettings
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.fields import smooth_field
from wmh_train.synthesis.source_images import read_source
from wmh_train.synthesis.tissues import (
    BRAIN,
    LESION_LABELS,
    VENTRICLES,
    Tissue,
    tissues_of,
    unknown_labels,
)

_LARGEST_MM = (184, 232)  # width and length of the grid: every head fits
_ABOVE_MM = 12  # of the brain
_ELASTIC_SCALES_MM = (18, 48)  # distance of the points that are displaced
_CEREBRUM = (Tissue.WHITE, Tissue.CORTEX)
_NEEDED = (*_CEREBRUM, Tissue.VENTRICLE, Tissue.CEREBELLAR_CORTEX)
_MAX_SPACING_ERROR_MM = 0.02


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map on a grid of 1 mm, with axes to the right, front and top.

    Attributes:
        tissue: uint8 (X, Y, Z), values of `Tissue`.
        lesions: uint8 (X, Y, Z), 1 in the map's own lesions.
        cerebrum: (2, 3), lowest and highest voxel of white matter and cortex.
        lowest_brain: the lowest voxel of the cerebellum along z.
    """

    tissue: Tensor
    lesions: Tensor
    cerebrum: Tensor
    lowest_brain: int


def read_label_map(path: Path) -> LabelMap:
    """Read a label map with FreeSurfer's numbers, at 1 mm.

    Raises:
        InputError: it cannot be read, has other voxels, lacks a tissue, or has unknown labels.
    """
    voxels, affine = read_source(path)
    to_canonical = nib.io_orientation(affine)
    labels = nib.apply_orientation(voxels, to_canonical).astype(np.int64)
    spacing_mm = nib.affines.voxel_sizes(affine)
    if max(abs(mm - 1) for mm in spacing_mm) > _MAX_SPACING_ERROR_MM:
        found = " × ".join(f"{mm:g}" for mm in spacing_mm)
        raise InputError(f"has voxels of {found} mm", "Resample it to 1 mm.", about=path)
    if unknown := unknown_labels(labels):
        raise InputError(
            f"has labels without a known tissue, such as {unknown[0]}",
            "Give label maps with the numbers of FreeSurfer's aseg.",
            about=path,
        )
    tissue = tissues_of(labels)
    if missing := [one for one in _NEEDED if not (tissue == one).any()]:
        raise InputError(
            f"has no {missing[0].name.lower().replace('_', ' ')}",
            "Give label maps of whole brains with FreeSurfer's numbers.",
            about=path,
        )
    cerebrum = np.argwhere(np.isin(tissue, _CEREBRUM))
    low = np.flatnonzero((tissue == Tissue.CEREBELLAR_CORTEX).any(axis=(0, 1)))[0]
    return LabelMap(
        tissue=torch.from_numpy(tissue),
        lesions=torch.from_numpy(np.isin(labels, LESION_LABELS).astype(np.uint8)),
        cerebrum=torch.from_numpy(np.stack([cerebrum.min(axis=0), cerebrum.max(axis=0)])),
        lowest_brain=int(low),
    )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The tissues of one head on a grid of 1 mm; all volumes are (X, Y, Z).

    Attributes:
        tissue: uint8, values of `Tissue`.
        own_lesions: float32 in [0, 1], the label map's.
        in_cerebrum: float32 (X, Y, Z, 3), position in the box of the cerebrum, 0 to 1 from left to
            right, back to front and bottom to top.
    """

    tissue: Tensor
    own_lesions: Tensor
    in_cerebrum: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        x, y, z = self.tissue.shape
        return x, y, z

    def is_any(self, tissues: Iterable[Tissue]) -> Tensor:
        """Return where one of some tissues is, bool."""
        table = torch.zeros(len(Tissue), dtype=torch.bool)
        table[[int(tissue) for tissue in tissues]] = True
        return table[self.tissue.long()]

    @cached_property
    def from_ventricles_mm(self) -> Tensor:
        """Distance from the lateral ventricles; 0 inside."""
        return self._distance_mm(self.is_any(VENTRICLES))

    @cached_property
    def from_surface_mm(self) -> Tensor:
        """Distance from the cortex and what is outside it; 0 inside."""
        return self._distance_mm(self.is_any((Tissue.CORTEX, Tissue.FLUID)))

    @cached_property
    def from_brain_mm(self) -> Tensor:
        """Distance from the brain; 0 inside."""
        return self._distance_mm(self.is_any(BRAIN))

    @cached_property
    def from_eyes_mm(self) -> Tensor:
        """Distance from the eyes; 0 inside."""
        return self._distance_mm(self.tissue == Tissue.EYE)

    @cached_property
    def below_skin_mm(self) -> Tensor:
        """Distance from the air around the head and in it; 0 there."""
        return self._distance_mm(self.tissue == Tissue.AIR)

    def _distance_mm(self, inside: Tensor) -> Tensor:
        if not inside.any():
            return torch.full(self.shape, torch.inf)
        return torch.from_numpy(edt.edt(~inside.numpy()))


def draw_anatomy(source: LabelMap, settings: AnatomySettings, draws: Draws) -> Anatomy:
    """Turn, scale, mirror and warp a label map."""
    center = source.cerebrum.double().mean(dim=0)
    below = float(source.cerebrum[0, 2]) - source.lowest_brain + draws.uniform(settings.neck_mm)
    height = float(source.cerebrum[1, 2] - source.cerebrum[0, 2]) + below
    scale = draws.rng.uniform(*settings.scale, 3)
    width_mm, length_mm = (
        min(largest, math.ceil(size * factor))
        for largest, size, factor in zip(_LARGEST_MM, source.tissue.shape, scale, strict=False)
    )
    shape = (width_mm, length_mm, math.ceil(height * scale[2]) + 2 * _ABOVE_MM)
    # The middle of the grid is below the middle of the cerebrum, as the neck is.
    middle = center.numpy() - (0, 0, (below - _ABOVE_MM) / 2)
    matrix = _rotation(draws, settings) / scale
    if draws.chance(0.5):
        matrix[:, 0] *= -1  # mirrored
    axes = [torch.arange(size, dtype=torch.float32) - (size - 1) / 2 for size in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    positions = grid @ torch.from_numpy(matrix.T.astype(np.float32))
    positions += torch.from_numpy(middle.astype(np.float32))
    largest_mm = draws.uniform(settings.elastic_mm)
    for axis in range(3):
        for scale_mm in _ELASTIC_SCALES_MM:
            share = scale_mm / sum(_ELASTIC_SCALES_MM)
            positions[..., axis] += share * largest_mm / 2 * smooth_field(draws, shape, scale_mm)
    low, high = (corner.float() for corner in source.cerebrum)
    anatomy = Anatomy(
        tissue=sample(source.tissue, positions, "nearest").to(torch.uint8),
        own_lesions=sample(source.lesions, positions),
        in_cerebrum=(positions - low) / (high - low),
    )
    if draws.chance(settings.ventricles_share):
        anatomy = _with_other_ventricles(anatomy, draws.uniform(settings.ventricles_mm))
    return anatomy


def _rotation(draws: Draws, settings: AnatomySettings) -> NDArray[np.float64]:
    pitch, roll, yaw = np.radians(draws.rng.normal(0, settings.tilt_degrees))
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_y = [[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]]
    about_z = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y) @ np.array(about_x)


def sample(volume: Tensor, positions: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample a volume (X, Y, Z) at positions (..., 3) in voxels; 0 outside."""
    sizes = torch.tensor(volume.shape, dtype=torch.float32)
    normalized = (2 * positions + 1) / sizes - 1  # as grid_sample has it without aligned corners
    sampled = F.grid_sample(
        volume.float()[None, None], normalized.flip(-1)[None], mode=mode, align_corners=False
    )
    return sampled[0, 0]


def _with_other_ventricles(anatomy: Anatomy, by_mm: float) -> Anatomy:
    """Move the walls of the lateral ventricles outward, or inward below 0."""
    tissue = anatomy.tissue.clone()
    if by_mm > 0:
        around = anatomy.is_any((Tissue.WHITE, Tissue.CAUDATE, Tissue.THALAMUS, Tissue.FLUID))
        tissue[around & (anatomy.from_ventricles_mm < by_mm)] = Tissue.VENTRICLE
    else:
        inside = anatomy.is_any(VENTRICLES)
        from_wall_mm = anatomy._distance_mm(~inside)
        tissue[inside & (from_wall_mm < -by_mm)] = Tissue.WHITE
    return Anatomy(tissue, anatomy.own_lesions, anatomy.in_cerebrum)
