"""Halfway space: both visits move by half of the rigid transform between them.

So neither is favored: the images of both are interpolated once, by the same angle and distance
(Reuter et al. 2012, doi 10.1016/j.neuroimage.2012.02.084). The transform is the middle of two
registrations, one in each direction. So the result is the same if the visits are swapped, but for
rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from wmh_runtime.change.pair.rigid import (
    half_of,
    inverse_of,
    middle_of,
    nearest_rotation,
)
from wmh_runtime.change.visits import VisitImages
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import box_around
from wmh_runtime.preprocessing.registration import angle_degrees, register

# Of the voxels of the halfway space. Finer than 0.5 mm takes memory and shows no more; coarser
# than 1 mm loses small lesions.
_FINEST_MM, _COARSEST_MM = 0.5, 1.0
_MARGIN_MM = 5.0  # around brain and lesions
_DIGITS = 6  # of voxels


@dataclass(frozen=True)
class HalfwayTransforms:
    """How two visits are brought to their halfway space.

    Attributes:
        before: (4, 4), RAS+ mm of the earlier visit → RAS+ mm of the halfway space.
        after: the same for the later visit.
        mm: how far the middle of the later image moved to the earlier one, in all.
        degrees: the same for the angle.
        disagreement_mm: between the two directions of the registration, at the corners of the
            later image; the largest.
    """

    before: Affine
    after: Affine
    mm: float
    degrees: float
    disagreement_mm: float


def find_halfway(before: Scan, after: Scan) -> HalfwayTransforms:
    """Register two visits in both directions, and divide the movement between them.

    Raises:
        InputError: SimpleITK is not installed, an affine has shear, or the images do not overlap.
    """
    one = register(after, before).matrix
    other = inverse_of(register(before, after).matrix)
    corners = apply_affine(after.affine, box_corners(tuple(slice(0, n) for n in after.shape)))
    apart_mm = np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1)
    return halfway_from(middle_of(one, other), after, float(apart_mm.max()))


def halfway_from(to_before: Affine, after: Scan, disagreement_mm: float = 0.0) -> HalfwayTransforms:
    """Divide a known rigid transform between two visits.

    Args:
        to_before: (4, 4), RAS+ mm of the later visit → RAS+ mm of the earlier one.
        after: the later scan.
        disagreement_mm: between the directions of the registration.
    """
    half = half_of(to_before)
    middle_mm = apply_affine(after.affine, (np.array(after.shape) - 1) / 2)
    moved_mm = apply_affine(to_before, middle_mm) - middle_mm
    return HalfwayTransforms(
        before=inverse_of(half),
        after=half,
        mm=float(np.linalg.norm(moved_mm)),
        degrees=angle_degrees(to_before),
        disagreement_mm=disagreement_mm,
    )


def halfway_grid(visits: tuple[VisitImages, VisitImages], transforms: HalfwayTransforms) -> Scan:
    """Return the grid of the halfway space: isotropic, around brain and lesions of both visits.

    Its axes are the mean of those of both scans, and point to the right, front and top. Its voxels
    are as fine as the finest edge of a voxel of both, between 0.5 and 1 mm: thick slices are
    divided, so that no axis is favored and no voxel of a scan is averaged. If both scans are on one
    grid, whole voxels of it contain whole voxels of this one.

    Returns:
        A scan without values: all voxels are 0.
    """
    matrices = (transforms.before, transforms.after)
    affines = [
        matrix @ _in_ras_order(visit.scan) for matrix, visit in zip(matrices, visits, strict=True)
    ]
    finest_mm = min(min(visit.scan.spacing_mm) for visit in visits)
    spacing_mm = float(np.clip(finest_mm, _FINEST_MM, _COARSEST_MM))
    frame = nearest_rotation(
        np.sum([nearest_rotation(affine[:3, :3]) for affine in affines], axis=0)
    )
    first_mm = np.mean([affine[:3, 3] @ frame for affine in affines], axis=0)
    edges_mm = np.mean([np.linalg.norm(affine[:3, :3], axis=0) for affine in affines], axis=0)
    parts = np.maximum(1, np.rint(edges_mm / spacing_mm))  # of a voxel of the scans
    first_mm += np.where(parts % 2 == 0, spacing_mm / 2, 0)
    places = np.concatenate(
        [
            apply_affine(matrix @ visit.scan.affine, box_corners(_content(visit))) @ frame
            for matrix, visit in zip(matrices, visits, strict=True)
        ]
    )
    # Rounded first: the last digits of a product of matrices must not decide about a voxel.
    begin, end = places.min(axis=0) - _MARGIN_MM, places.max(axis=0) + _MARGIN_MM
    low = np.floor(np.round((begin - first_mm) / spacing_mm, _DIGITS))
    high = np.ceil(np.round((end - first_mm) / spacing_mm, _DIGITS))
    affine = np.eye(4)
    affine[:3, :3] = frame * spacing_mm
    affine[:3, 3] = frame @ (first_mm + low * spacing_mm)
    shape = tuple(int(count) for count in high - low + 1)
    scan = visits[1].scan
    return Scan(scan.path, np.broadcast_to(np.float32(0), shape), affine, None, "", ())


def _content(visit: VisitImages) -> tuple[slice, ...]:
    """Return the box around brain and lesions of a visit; all of the image without a brain."""
    if visit.brain is None:
        return tuple(slice(0, n) for n in visit.scan.shape)
    return box_around(visit.brain | visit.lesions)


def box_corners(box: tuple[slice, ...]) -> NDArray[np.float64]:
    """Return the outer corners (8, 3) of a box of voxels, in voxel indices."""
    return np.array(list(product(*((one.start - 0.5, one.stop - 0.5) for one in box))))


def _in_ras_order(scan: Scan) -> Affine:
    """Return the affine of a scan as if its axes pointed to the right, front and top."""
    orientation = io_orientation(scan.affine)
    return scan.affine @ inv_ornt_aff(orientation, scan.shape)
