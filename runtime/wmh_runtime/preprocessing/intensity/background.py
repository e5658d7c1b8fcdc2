"""Find background that was not measured: padding, or the constant around an extracted brain."""

from __future__ import annotations

from collections.abc import Iterator

import cc3d
import numpy as np

from wmh_runtime.types import Floats, Mask

_MAX_LAYERS = 8  # of background within background: a padded image of an extracted brain has two
_ROBUST_PERCENTILES = (0.5, 99.5)
_TOLERANCE = 1e-3  # of the robust range; an interpolated background is not exactly constant
_CONSTANT_SHARE = 0.5  # of a face; the air of a scan varies more, because of noise
_MAX_SAMPLES = 2_000_000  # voxels for percentiles; more would not change them


def constant_background(stack: Floats) -> Mask:
    """Find the voxels that have the constant value of a face of the image, up to that face.

    A face is background if half of it has one value. What remains is searched again, because an
    image can be padded with one value around another. Any value can be background: 0, the lowest
    value, or a value in the range of the tissue, as after z-scoring.

    Args:
        stack: (slices, rows, columns), any intensity scale.

    Returns:
        bool, same shape as the stack; all False if no face is constant.
    """
    background = np.zeros(stack.shape, np.bool_)
    for _ in range(_MAX_LAYERS):
        if background.all():
            break
        # Exactly constant layers first: an extreme value of padding would widen the tolerance.
        layer = _constant_layer(stack, background, tolerance=0.0)
        if layer is None:
            layer = _constant_layer(stack, background, _tolerance(stack[~background]))
        if layer is None:
            break
        background |= layer
    return background


def _tolerance(values: Floats) -> float:
    step = values.size // _MAX_SAMPLES or 1
    low, high = np.percentile(values[::step], _ROBUST_PERCENTILES)
    return _TOLERANCE * (float(high) - float(low))


def _constant_layer(stack: Floats, background: Mask, tolerance: float) -> Mask | None:
    """Return the next layer of constant background; None if no face is constant."""
    box = tuple(_extent(background, axis) for axis in range(3))
    values = set(_values_of_constant_faces(stack[box], background[box], tolerance))
    if not values:
        return None
    layer = np.zeros_like(background)
    for value in values:
        layer |= (stack >= value - tolerance) & (stack <= value + tolerance)
    layer &= ~background
    layer[box] = _connected_to_faces(layer[box])
    return layer


def _values_of_constant_faces(stack: Floats, background: Mask, tolerance: float) -> Iterator[float]:
    for axis in range(3):
        for end in (0, -1):
            known = np.take(background, end, axis)
            values = np.take(stack, end, axis)[~known].astype(np.float64)
            value = float(np.median(values))
            equal = np.count_nonzero(abs(values - value) <= tolerance)
            if equal >= _CONSTANT_SHARE * known.size:
                yield value


def _connected_to_faces(mask: Mask) -> Mask:
    """Return the components of a mask that reach a face of the box."""
    labels = cc3d.connected_components(mask, connectivity=6)
    faces = [np.take(labels, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    reaches = np.zeros(int(labels.max()) + 1, np.bool_)
    reaches[np.concatenate(faces)] = True
    reaches[0] = False
    return reaches[labels]


def _extent(background: Mask, axis: int) -> slice:
    """Return the range along an axis of the voxels that are not background."""
    others = tuple(other for other in range(3) if other != axis)
    indices = np.flatnonzero(~np.all(background, axis=others))
    return slice(int(indices[0]), int(indices[-1]) + 1)
