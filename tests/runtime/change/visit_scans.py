"""Visits with boxes as lesions, in memory and as files."""

from dataclasses import replace

import nibabel as nib
import numpy as np

from tests.toys import as_scan
from wmh_runtime.change.pair.halfway import HalfwayTransforms, halfway_from
from wmh_runtime.change.visits import Visit, VisitImages

STILL = HalfwayTransforms(np.eye(4), np.eye(4), 0.0, 0.0, 0.0)
SHAPE = (24, 28, 12)


def box(*ranges, shape=SHAPE):
    """A mask of one box of voxels, as half-open ranges along each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*one) for one in ranges)] = True
    return mask


def visit_images(mask, affine=None, level=None, regions=None) -> VisitImages:
    affine = np.eye(4) if affine is None else affine
    voxels = np.random.default_rng(3).random(mask.shape).astype(np.float32)
    level = mask.astype(np.float32) if level is None else level
    return VisitImages(as_scan(voxels, affine), mask, level, regions)


def turned(degrees, shift_mm, axis=2):
    """A rotation about an axis of the patient, then a shift."""
    matrix, angle = np.eye(4), np.radians(degrees)
    one, two = (other for other in range(3) if other != axis)
    matrix[one, one] = matrix[two, two] = np.cos(angle)
    matrix[one, two], matrix[two, one] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = shift_mm
    return matrix


def moved(visit: VisitImages, matrix) -> VisitImages:
    """The same voxels at another place of the scanner."""
    return replace(visit, scan=replace(visit.scan, affine=matrix @ visit.scan.affine))


def known(to_before, after: VisitImages) -> HalfwayTransforms:
    return halfway_from(to_before, after.scan)


def head(shape=(40, 48, 20), seed=5):
    """A smooth bright ellipsoid with dark and bright spots, which has one best position."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    x, y, z = grid
    inside = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.9) ** 2 < 1
    rng = np.random.default_rng(seed)
    image = 1000.0 * inside
    for _ in range(25):
        center = rng.uniform(-0.6, 0.6, 3).reshape(3, 1, 1, 1)
        width = rng.uniform(0.1, 0.25)
        image += inside * rng.normal(0, 400) * np.exp(-((grid - center) ** 2).sum(0) / width**2)
    return image + rng.normal(0, 8, shape)


def write_visit(folder, label, mask, *, image=None, affine=None, name="sub-1") -> Visit:
    affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
    image = head(mask.shape) if image is None else image
    scan = folder / f"{name}_{label}_FLAIR.nii.gz"
    to = folder / f"{name}_{label}_label-WMH_mask.nii.gz"
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), scan)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), to)
    return Visit(label, scan, to)
