"""Register an image rigidly to another one of the same head, with SimpleITK.

Only the affine of the moving image changes, so that its values are interpolated once, when it is
brought to the grid of the other. Mutual information is the measure of similarity, because FLAIR and
T1 have different contrasts (Mattes et al. 2003, doi 10.1109/TMI.2003.809072).

Gradient descent on few points comes close. From there Powell's method searches, which needs no
gradient: across thick slices, the gradient of an image is too coarse. The fixed image is averaged
along each axis by itself, so that no thick slice is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.orientation import RAS_TO_LPS
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.preprocessing.itk import import_itk, reason_of_itk

_BINS = 50
_SEED = 1
_POINTS = 50_000  # of the fixed image, at random places
_COARSE_MM, _COARSE_SMOOTHING_MM = 4.0, 3.0
_FINE_MM, _FINE_SMOOTHING_MM = 2.0, 1.0
_FAR_MM, _FAR_DEGREES = 20.0, 15.0  # more than a patient moves in a scanner
_MAX_SHEAR = 1e-3  # cosine of the angle between two axes; they are made perpendicular


@dataclass(frozen=True)
class Registration:
    """How an image was moved."""

    scan: Scan  # the moving image, in its new place
    matrix: NDArray[np.float64]  # (4, 4), RAS+ mm: where the image was → where it is
    degrees: float
    mm: float  # of the middle of the image
    similarity: tuple[float, float]  # before, and where it was found; mutual information in nats
    is_applied: bool  # the similarity rose; else nothing moves, and the matrix is the identity

    @property
    def warning(self) -> str:
        """What to be careful with; empty if it was moved a little, or not at all."""
        name = self.scan.path.name
        if self.is_applied and (self.mm > _FAR_MM or self.degrees > _FAR_DEGREES):
            return (
                f"{name} was moved by {self.mm:.0f} mm and {self.degrees:.0f}°: check that it is of"
                " the same head"
            )
        return ""


def register(moving: Scan, fixed: Scan) -> Registration:
    """Register an image to another one; it stays where it is unless the similarity rises.

    Args:
        moving: such as a T1.
        fixed: such as a FLAIR of the same head.

    Raises:
        InputError: SimpleITK is not installed, an affine has shear, or the images do not overlap.
    """
    itk = import_itk("register")
    fixed_image, moving_image = _to_itk(fixed, itk), _to_itk(moving, itk)
    start = itk.Euler3DTransform()
    start.SetCenter(
        fixed_image.TransformContinuousIndexToPhysicalPoint(
            [(size - 1) / 2 for size in fixed_image.GetSize()]
        )
    )
    try:
        coarse = _Search(fixed_image, moving_image, _COARSE_MM, _COARSE_SMOOTHING_MM, itk)
        coarse.method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
        near = coarse.execute(start)
        fine = _Search(fixed_image, moving_image, _FINE_MM, _FINE_SMOOTHING_MM, itk)
        fine.method.SetOptimizerAsPowell(
            10, 20, stepLength=1, stepTolerance=1e-2, valueTolerance=1e-6
        )
        found = fine.execute(near)
        before, after = fine.similarity(start), fine.similarity(found)
    except RuntimeError as error:
        problem = f"cannot be registered to {fixed.path.name} ({reason_of_itk(error)})"
        advice = "Check that both show the same head in several slices, or do not register it."
        raise InputError(problem, advice, about=moving.path) from error
    is_applied = after > before
    to_fixed: Affine = np.eye(4)
    if is_applied:
        to_fixed = np.linalg.inv(_matrix_of(found)).astype(np.float64)
    moved = replace(moving, affine=to_fixed @ moving.affine) if is_applied else moving
    middle = np.append((np.array(moving.shape) - 1) / 2, 1)
    before_mm, after_mm = (matrix @ moving.affine @ middle for matrix in (np.eye(4), to_fixed))
    return Registration(
        scan=moved,
        matrix=to_fixed,
        degrees=angle_degrees(to_fixed),
        mm=float(np.linalg.norm(after_mm - before_mm)),
        similarity=(before, after),
        is_applied=is_applied,
    )


def angle_degrees(transform: Affine) -> float:
    """Return the angle of the rotation of a rigid transform (4, 4), 0 to 180."""
    cosine = np.clip((np.trace(transform[:3, :3]) - 1) / 2, -1, 1)
    return float(np.degrees(np.arccos(cosine)))


def require_registration(setting: str) -> None:
    """Refuse to register without SimpleITK; InputError.

    Args:
        setting: what needs it, for the error.
    """
    import_itk(setting)


class _Search:
    """A search for the transform with the highest mutual information.

    Args:
        fixed: image of SimpleITK.
        moving: image of SimpleITK.
        voxel_mm: blocks of voxels of the fixed image are averaged to about this size. The filter
            `Shrink`, which picks voxels, would shift them by half a voxel.
        smoothing_mm: standard deviation, of both images.
        itk: the module SimpleITK.
    """

    def __init__(
        self, fixed: Any, moving: Any, voxel_mm: float, smoothing_mm: float, itk: Any
    ) -> None:
        blocks = [max(1, round(voxel_mm / spacing_mm)) for spacing_mm in fixed.GetSpacing()]
        self._fixed, self._moving, self._itk = itk.BinShrink(fixed, blocks), moving, itk
        self.method = method = itk.ImageRegistrationMethod()  # lacks the optimizer
        method.SetNumberOfThreads(1)  # sums over several would differ in the last digits
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.RANDOM)
        share = min(1.0, _POINTS / self._fixed.GetNumberOfPixels())
        method.SetMetricSamplingPercentage(share, _SEED)
        method.SetInterpolator(itk.sitkLinear)
        method.SetShrinkFactorsPerLevel([1])
        method.SetSmoothingSigmasPerLevel([smoothing_mm])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()

    def execute(self, start: Any) -> Any:
        """Return the transform that is found from another one."""
        self.method.SetOptimizerScalesFromPhysicalShift()
        self.method.SetInitialTransform(start, inPlace=False)
        found = self.method.Execute(self._fixed, self._moving)
        return self._itk.Euler3DTransform(found.GetNthTransform(0))

    def similarity(self, transform: Any) -> float:
        """Return the mutual information in nats, at all voxels of the averaged image."""
        self.method.SetInitialTransform(transform, inPlace=False)
        return -float(self.method.MetricEvaluate(self._fixed, self._moving))


def _to_itk(scan: Scan, itk: Any) -> Any:
    """Convert a scan to an image of SimpleITK, in LPS."""
    affine = RAS_TO_LPS @ scan.affine
    directions = affine[:3, :3] / scan.spacing_mm
    if abs(directions.T @ directions - np.eye(3)).max() > _MAX_SHEAR:
        problem = "has axes that are not perpendicular, so it cannot be registered"
        raise InputError(problem, "Resample it, or run without registration.", about=scan.path)
    image = itk.GetImageFromArray(np.ascontiguousarray(scan.voxels.T))
    image.SetSpacing([float(mm) for mm in scan.spacing_mm])
    image.SetOrigin(affine[:3, 3].tolist())
    rotation, _, other = np.linalg.svd(directions)
    image.SetDirection((rotation @ other).ravel().tolist())
    return image


def _matrix_of(transform: Any) -> Affine:
    """Return the matrix of a rigid transform in RAS+ mm: fixed space → moving space."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(tuple(axis))) - origin for axis in np.eye(3)]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.column_stack(columns), origin
    return RAS_TO_LPS @ matrix @ RAS_TO_LPS
