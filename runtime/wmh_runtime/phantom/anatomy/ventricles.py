"""The ventricles, their choroid plexus, and the deep gray matter around them.

All coordinates are those of the standard head, in mm. Paired shapes are given for the right side
and evaluated at mirrored points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.shapes import (
    Field,
    Points,
    capsule_chain,
    ellipsoid,
    gaussian,
    mirrored,
    smooth_intersection,
    smooth_union,
)

# (x, y, z, radius) along the axis of the right lateral ventricle.
FRONTAL_TO_ATRIUM = (
    (12.5, 37, 5, 2.6),
    (9, 29, 11, 5.2),
    (9, 10, 18, 5.4),
    (12, -10, 20, 5.6),
    (20, -28, 15, 7.0),
    (24, -34, 6, 7.0),
)
OCCIPITAL_HORN = ((22, -33, 8, 6.5), (23, -48, 6, 4.2), (20, -60, 5, 1.2))
TEMPORAL_HORN = ((24, -32, 6, 6.0), (31, -18, -8, 2.2), (30, 0, -15, 1.8), (27, 8, -18, 1.2))

CAUDATE = ((12.5, 27, 3, 6.5), (16, 20, 8, 6.0), (18, 4, 17, 3.6), (20, -12, 18, 2.4))
CHOROID_ATRIUM = ((20, -24, 14, 1.6), (22, -32, 9, 3.2), (25, -33, 1, 1.8), (30, -22, -6, 0.8))

# Flow artifacts, (center), (widths): third ventricle with foramina of Monro, aqueduct, fourth
# ventricle, prepontine cistern, suprasellar cistern.
FLOW_SPOTS = (
    ((0.0, 20.0, 3.0), (5.0, 5.0, 6.0)),
    ((0.0, -9.0, -6.0), (3.0, 4.0, 8.0)),
    ((0.0, -17.0, -33.0), (5.0, 5.0, 8.0)),
    ((0.0, 18.0, -30.0), (7.0, 5.0, 12.0)),
    ((4.0, 24.0, -18.0), (6.0, 5.0, 5.0)),
)

SEPTUM_MM = 0.7  # half the thickness of the septum between the lateral ventricles


def lateral_ventricles(points: Points, enlargement_mm: float) -> Field:
    """Return the distance to the lateral ventricles, with walls shifted out by `enlargement_mm`.

    The horns are higher than wide, and the head of the caudate nucleus bulges into them.
    """
    right = mirrored(points)
    squeezed = right * np.array([[1.12], [1.0], [0.88]], np.float32)
    chains = [
        capsule_chain(squeezed, [(1.12 * x, y, 0.88 * z, r) for x, y, z, r in nodes])
        for nodes in (FRONTAL_TO_ATRIUM, OCCIPITAL_HORN, TEMPORAL_HORN)
    ]
    enlargement = np.float32(enlargement_mm)
    # Thin horns are enlarged less than the wide body.
    distance = smooth_union(
        chains[0] - enlargement,
        np.minimum(chains[1] - 0.7 * enlargement, chains[2] - 0.35 * enlargement),
        2,
    )
    distance = smooth_intersection(distance, 0.6 - caudate(points), 1.5)
    return np.maximum(distance, np.float32(SEPTUM_MM) - right[0])


def third_ventricle(points: Points, enlargement_mm: float) -> Field:
    """Return the distance to the third ventricle, a slit between the thalami."""
    width = float(np.clip(2.2 + 0.6 * enlargement_mm, 1.2, 5))
    return ellipsoid(points, (0, 9, -3), (width, 14, 10))


def fourth_ventricle(points: Points, enlargement_mm: float) -> Field:
    """Return the distance to the fourth ventricle and the aqueduct."""
    ventricle = ellipsoid(points, (0, -17, -33), (8 + 0.5 * enlargement_mm, 5.5, 11))
    aqueduct = capsule_chain(points, [(0, -17, -26, 1.6), (0, -9, -8, 1.1), (0, -4, -3, 1.1)])
    return smooth_union(ventricle, aqueduct, 2)


def choroid_plexus(points: Points) -> Field:
    """Return the distance to the choroid plexus in the atria."""
    return capsule_chain(mirrored(points), CHOROID_ATRIUM)


def caudate(points: Points) -> Field:
    """Return the distance to the caudate nuclei, from head to tail."""
    return capsule_chain(mirrored(points), CAUDATE)


def putamen(points: Points) -> Field:
    """Return the distance to the putamina."""
    return ellipsoid(_rotated(mirrored(points), 0.20), (28.3, 9, 1), (5.0, 18, 11))


def pallidum(points: Points) -> Field:
    """Return the distance to the pallida, medial to the putamina."""
    return ellipsoid(_rotated(mirrored(points), 0.30), (22.4, 6, -1), (4.0, 10, 6.5))


def thalamus(points: Points) -> Field:
    """Return the distance to the thalami."""
    return ellipsoid(_rotated(mirrored(points), 0.35), (13.2, -4, 3), (9, 15, 9))


def paint_flow(
    canvas: Field, points: Points, fluid: Field, brightness: NDArray[np.float32]
) -> None:
    """Add flow artifacts, in place.

    Args:
        canvas: (N,) relative signal.
        points: (3, N) mm.
        fluid: (N,) fluid fraction, 0 to 1.
        brightness: (5,) signal added at the center of each of `FLOW_SPOTS`.
    """
    for (center, widths), added in zip(FLOW_SPOTS, brightness, strict=True):
        canvas += added * gaussian(points, center, widths) * fluid


def _rotated(points: Points, angle_rad: float) -> Points:
    """Return points rotated about z; a shape along y then has its anterior end medially."""
    c, s = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    return np.stack([c * points[0] + s * points[1], c * points[1] - s * points[0], points[2]])
