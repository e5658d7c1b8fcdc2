"""Correct the bias field of a scan with N4 (Tustison et al. 2010, doi 10.1109/TMI.2010.2046908).

The field is estimated by SimpleITK on voxels averaged to about 4 mm, each axis by itself, so thick
slices stay as they are. It is smooth, so it is interpolated linearly between them. N4 runs on one
thread: sums over several would differ in the last digits. The box around the head is divided evenly
from end to end, so that neither padding nor mirroring moves the averaged voxels.

ITK refines the field four times by default. On phantoms without bias, the last step follows the
anatomy: the field varies by 4 to 5 % over white matter, with three steps by 1 to 2 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from wmh_runtime.errors import InputError
from wmh_runtime.preprocessing.itk import import_itk, reason_of_itk
from wmh_runtime.types import Floats, Mask

_SETTING = "preprocessing.bias_correction"
_VOXEL_MM = 4.0
_ITERATIONS = (50, 50, 50)  # of each step; each step halves the distance of the control points
_ROBUST_PERCENTILES = (0.1, 99.9)  # damaged voxels are beyond; they would spoil the logarithm
_LOWEST = 0.01  # of that range: just above 0
_MIN_MEASURED_SHARE = 0.5  # of an averaged voxel
_MAX_RATIO = 3.0  # of the field in the head; it is 1.06 to 1.71 in six real scans


def require_bias_correction() -> None:
    """Refuse to correct bias without SimpleITK; InputError."""
    import_itk(_SETTING)


def correct_bias(
    stack: Floats, measured: Mask, spacing_mm: tuple[float, float, float], path: Path
) -> tuple[Floats, tuple[str, ...]]:
    """Divide the intensities of the head by their bias field; others stay as they are.

    The mean logarithm of the field is 0 in the head. Intensities count from the lowest one of the
    head, whatever a program has added to them.

    Args:
        stack: (slices, rows, columns), any intensity scale.
        measured: same shape, the voxels of the head that are not background, at least one.
        spacing_mm: along slices, rows and columns.
        path: of the image, for errors and warnings.

    Returns:
        float32, same shape; and a warning if the field varies more than bias does.

    Raises:
        InputError: SimpleITK is not installed, or N4 fails on this image.
    """
    low, high = map(float, np.percentile(stack[measured], _ROBUST_PERCENTILES))
    if low == high:
        return stack, ()
    box = tuple(_extent(measured, axis) for axis in range(3))
    inside = measured[box]
    relative = np.clip((stack[box] - np.float32(low)) / np.float32(high - low), _LOWEST, 1)
    try:
        log_field = _log_bias_field(relative, inside, spacing_mm)
    except RuntimeError as error:
        problem = f"N4 cannot correct its bias field ({reason_of_itk(error)})"
        advice = "Check that the image shows a whole head in several slices."
        raise InputError(problem, advice, about=path) from error
    log_of_head = log_field[inside]
    log_of_head -= log_of_head.mean(dtype=np.float64)
    corrected = stack.copy()
    corrected[measured] = low + (stack[measured] - np.float32(low)) / np.exp(log_of_head)
    return corrected, _field_warnings(float(np.exp(np.ptp(log_of_head))), path)


def _log_bias_field(relative: Floats, inside: Mask, spacing_mm: tuple[float, ...]) -> Floats:
    """Return the logarithm of the bias field, at all voxels.

    Args:
        relative: (slices, rows, columns), above 0.
        inside: same shape, the voxels that count.
        spacing_mm: along slices, rows and columns.
    """
    itk = import_itk(_SETTING)
    shape = relative.shape
    averaging = [_averaging(*axis) for axis in zip(shape, spacing_mm, strict=True)]
    share = _along_axes(averaging, inside.astype(np.float32))
    total = _along_axes(averaging, relative * inside)
    counts = share >= min(_MIN_MEASURED_SHARE, float(share.max()))
    image = itk.GetImageFromArray(np.divide(total, share, out=np.ones_like(share), where=counts))
    mask = itk.GetImageFromArray(counts.astype(np.uint8))
    extents = zip(shape, spacing_mm, share.shape, strict=True)
    averaged_mm = [count * mm / averaged for count, mm, averaged in extents]
    for one in (image, mask):
        one.SetSpacing(averaged_mm[::-1])  # ITK counts axes from the last
    method = itk.N4BiasFieldCorrectionImageFilter()
    method.SetNumberOfThreads(1)
    method.SetMaximumNumberOfIterations(_ITERATIONS)
    method.Execute(image, mask)
    log_field = itk.GetArrayFromImage(method.GetLogBiasFieldAsImage(image))
    back = [_interpolation(*counts) for counts in zip(shape, share.shape, strict=True)]
    return _along_axes(back, log_field)


def _averaging(count: int, spacing_mm: float) -> Floats:
    """Return the matrix (averaged, count) that averages voxels of an axis to about 4 mm."""
    averaged = max(1, round(count / max(1, round(_VOXEL_MM / spacing_mm))))
    edges = np.linspace(0, count, averaged + 1)[:, None]
    start = np.arange(count)
    overlap = np.minimum(edges[1:], start + 1) - np.maximum(edges[:-1], start)
    return (np.maximum(overlap, 0) * averaged / count).astype(np.float32)


def _interpolation(count: int, averaged: int) -> Floats:
    """Return the matrix (count, averaged) that interpolates linearly, constant beyond the ends."""
    positions = (np.arange(count) + 0.5) * averaged / count - 0.5
    offsets = np.clip(positions, 0, averaged - 1)[:, None] - np.arange(averaged)
    return np.maximum(1 - abs(offsets), 0).astype(np.float32)


def _along_axes(matrices: list[Floats], volume: Floats) -> Floats:
    """Multiply each axis of a volume with a matrix."""
    first, second, third = matrices
    planes = second @ volume @ third.T
    return cast(Floats, np.tensordot(first, planes, axes=1))


def _extent(mask: Mask, axis: int) -> slice:
    """Return the range of a mask along an axis."""
    others = tuple(other for other in range(3) if other != axis)
    indices = np.flatnonzero(mask.any(axis=others))
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _field_warnings(ratio: float, path: Path) -> tuple[str, ...]:
    if ratio <= _MAX_RATIO:
        return ()
    return (
        f"the bias field of {path.name} varies by a factor of {ratio:.1f} in the head, expected"
        f" {_MAX_RATIO:g} or less: look at the scan and its mask",
    )
