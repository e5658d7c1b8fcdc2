"""What the methods start from: intensities relative to white matter, and the inside of the brain.

The brain is found by morphology alone. In FLAIR, skull and suppressed fluid are dark, so the brain
is the largest body of tissue that is left when thin bridges are removed. This is rough: parts of
the neck or of the orbits may stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cc3d
import edt
import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.orientation import Reorientation, axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.preprocessing.head_mask import find_head
from wmh_runtime.preprocessing.intensity.normalization import normalize_to_white_matter
from wmh_runtime.types import Floats, Mask

_TISSUE = (0.65, 2.0)  # of white matter: brain and lesions, but no fluid and little fat
_SMOOTHING_MM = 1.0  # before tissue is told from fluid, against noise
_BELOW_TOP_MM = 150.0  # below this is the neck
_BRIDGES_MM = (7.0, 5.5, 4.0, 2.5)  # half of the width of bridges between brain and other tissue
_LEAST_BRAIN_ML = 900.0  # if less is left, narrower bridges are removed only
_CLOSING_MM = 6.0  # half of the width of fluid that belongs to the brain: ventricles and sulci
_RIM_MM = 8.0  # cortex, which is as bright as a faint lesion
_FLUID = 0.55  # of white matter; darker is fluid
_VENTRICLE_DEPTH_MM = 22.0
_LEAST_VENTRICLE_MM3 = 100.0


@dataclass(frozen=True)
class Brain:
    """The brain of a FLAIR scan; slices are axial, from bottom to top."""

    intensity: Floats  # (slices, rows, columns): 0 is dark, 1 is white matter
    mask: Mask  # same shape, with the ventricles
    spacing_mm: tuple[float, float, float]
    reorientation: Reorientation  # from the grid of the scan

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm))

    @cached_property
    def depth_mm(self) -> Floats:
        """Distance of each voxel of the brain from its surface; 0 outside."""
        return distance_mm(self.mask, self.spacing_mm)

    @cached_property
    def inside(self) -> Mask:
        """The brain without its rim: tissue where lesions are searched, and ventricles."""
        return self.depth_mm > _RIM_MM

    @cached_property
    def ventricles(self) -> Mask:
        """The fluid deep in the brain."""
        fluid = (self.intensity < _FLUID) & (self.depth_mm > _VENTRICLE_DEPTH_MM)
        least = max(1, round(_LEAST_VENTRICLE_MM3 / self.voxel_mm3))
        return cc3d.dust(fluid, threshold=least, connectivity=6).astype(bool)


def find_brain(scan: Scan) -> Brain:
    """Find the brain of a FLAIR scan.

    Raises:
        InputError: no brain is found, or only a thin one.
    """
    reorientation = axial_reorientation(scan.affine)
    z, y, x = (float(scan.spacing_mm[axis]) for axis in reorientation.axes)
    spacing_mm = (z, y, x)
    stack = np.ascontiguousarray(reorientation.apply(scan.voxels)).astype(np.float32)
    head = find_head(stack, scan.voxel_volume_mm3)
    if not (head.mask & ~head.background).any():
        raise InputError("shows no head", "Check that it is a FLAIR scan.", about=scan.path)
    intensity = normalize_to_white_matter(stack, head.mask, head.background, spacing_mm)
    tissue = _tissue(intensity, spacing_mm)
    top = int(np.flatnonzero(head.mask.any(axis=(1, 2)))[-1])
    tissue[: max(0, top - round(_BELOW_TOP_MM / spacing_mm[0]))] = False
    depth_mm, voxel_ml = distance_mm(tissue, spacing_mm), scan.voxel_volume_mm3 / 1000
    mask = np.zeros_like(tissue)
    for bridge_mm in _BRIDGES_MM:
        core = cc3d.largest_k(depth_mm > bridge_mm, k=1, connectivity=6) > 0
        mask = _grown(core, bridge_mm, spacing_mm) & head.mask
        if mask.sum() * voxel_ml >= _LEAST_BRAIN_ML:
            break
    if not mask.any():
        raise InputError("shows no brain", "Check that it is a FLAIR scan.", about=scan.path)
    brain = Brain(intensity, mask, spacing_mm, reorientation)
    if not brain.inside.any():
        raise InputError(
            f"shows a brain of {mask.sum() * voxel_ml:.0f} mL only, nowhere deeper than"
            f" {_RIM_MM:g} mm",
            "Check that it is a FLAIR scan of a whole brain.",
            about=scan.path,
        )
    return brain


def distance_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> Floats:
    """Return the distance of each voxel of a mask to the nearest one outside; 0 outside."""
    return edt.edt(np.ascontiguousarray(mask), anisotropy=spacing_mm).astype(np.float32)


def _tissue(intensity: Floats, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the voxels as bright as brain or lesions."""
    smooth = gaussian_filter(intensity, [_SMOOTHING_MM / mm for mm in spacing_mm])
    return (smooth > _TISSUE[0]) & (smooth < _TISSUE[1])


def _grown(core: Mask, bridge_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Grow the core of the brain to its surface, across sulci and ventricles."""
    grown = distance_mm(~core, spacing_mm) < bridge_mm + _CLOSING_MM
    closed = distance_mm(grown, spacing_mm) > _CLOSING_MM
    return np.stack([binary_fill_holes(one) for one in closed])
