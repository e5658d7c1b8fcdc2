"""The large compartments: cranial cavity, cerebrum, cerebellum and brainstem.

All coordinates are those of the standard head, in mm.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.shapes import (
    Field,
    Points,
    capsule_chain,
    ellipsoid,
    mirrored,
    smooth_intersection,
    smooth_union,
    smoothstep,
    superellipsoid,
)

CEREBRUM_RADII_MM = (65.0, 81.0, 65.0)
CEREBRUM_EXPONENT = 2.2
FLOOR_MM = -23.0  # height of the skull base below the frontal lobes ...
ORBIT_RISE_MM = 7.0  # ... which is higher above the orbits
OCCIPITAL_DROP_MM = 9.0
TEMPORAL_LOBE = ((31, 36, -25, 11), (39, 22, -26, 16), (43, 2, -22, 18), (44, -28, -12, 19))
TENTORIUM_GAP_MM = 1.2
AMBIENT_GAP_MM = 3.0
BRAINSTEM_WIDTH = 1.18  # width relative to depth

BRAINSTEM = (
    (0, -1, -4, 10.5),
    (0, -1, -14, 10.5),
    (0, 2, -24, 12.5),
    (0, 2, -31, 12.5),
    (0, -4, -42, 9.5),
    (0, -9, -56, 7.5),
    (0, -15, -80, 6.0),
    (0, -20, -180, 5.5),
)
PEDUNCLE = ((7, 7, -22, 5), (11, 8, -10, 5.5), (16, 6, 2, 6))


@dataclass(frozen=True)
class Compartments:
    """Distances (N,) in mm to the compartments, at the same points."""

    cavity: Field  # inner table of the skull
    cerebrum: Field  # outer surface of both hemispheres, without fissures and sulci
    cerebellum: Field
    brainstem: Field

    def at(self, indices: NDArray[np.intp]) -> Compartments:
        """Return the distances at selected points."""
        return Compartments(*(getattr(self, field.name)[indices] for field in fields(self)))


def evaluate_compartments(head: HeadParameters, points: Points) -> Compartments:
    """Evaluate the compartments at points (3, N) of the standard head."""
    right = mirrored(points)
    vault = superellipsoid(points, CEREBRUM_RADII_MM, CEREBRUM_EXPONENT)
    upper = smooth_intersection(vault, _floor(right) - points[2], 6)
    temporal = capsule_chain(right, TEMPORAL_LOBE)
    cerebellum = _cerebellum(right)
    brainstem = _brainstem(right)

    cerebrum = np.minimum(upper, temporal)
    cerebrum = np.maximum(cerebrum, np.float32(TENTORIUM_GAP_MM) - cerebellum)
    cerebrum = np.maximum(cerebrum, -_basal_cisterns(points, brainstem))

    gap = np.float32(head.subarachnoid_mm)
    posterior_fossa = smooth_union(cerebellum - 2.2, brainstem - 5.0, 6)
    cavity = smooth_union(smooth_union(upper - gap, temporal - gap, 6), posterior_fossa, 8)
    return Compartments(cavity, cerebrum, cerebellum, brainstem)


def _floor(right: Points) -> Field:
    """Return the height (N,) in mm of the lower surface of the frontal and occipital lobes."""
    x, y, _ = right
    orbit = np.exp(np.float32(-0.5) * ((x - 29) / 11) ** 2) * smoothstep(y, 22, 45)
    return (
        np.float32(FLOOR_MM)
        + np.float32(ORBIT_RISE_MM) * orbit
        - np.float32(OCCIPITAL_DROP_MM) * smoothstep(-y, 10, 50)
    )


def _cerebellum(right: Points) -> Field:
    lobe = ellipsoid(right, (24, -34, -39), (28, 30, 22))
    vermis = ellipsoid(right, (0, -35, -31), (13, 22, 21))
    whole = smooth_union(lobe, vermis, 5)
    notch = ellipsoid(right, (0, -66, -44), (4.5, 9, 22))
    return smooth_intersection(whole, -notch, 3)


def _brainstem(right: Points) -> Field:
    narrowed = right.copy()
    narrowed[0] /= np.float32(BRAINSTEM_WIDTH)
    return smooth_union(capsule_chain(narrowed, BRAINSTEM), capsule_chain(right, PEDUNCLE), 2)


def _basal_cisterns(points: Points, brainstem: Field) -> Field:
    """Return the distance to the cisterns under the cerebrum, below the thalami."""
    ambient = np.maximum(brainstem - np.float32(AMBIENT_GAP_MM), points[2] + 8)
    suprasellar = ellipsoid(points, (0, 23, -19), (12, 9, 9))
    quadrigeminal = ellipsoid(points, (0, -21, -5), (10, 5.5, 8))
    return np.minimum(np.minimum(ambient, suprasellar), quadrigeminal)


def cerebrum_gauge(points: Points) -> tuple[Field, Points]:
    """Return the relative size of the concentric ellipsoid through each point, and its gradient."""
    radii = np.asarray(CEREBRUM_RADII_MM, np.float32)[:, None]
    scaled = points / radii
    gauge = np.maximum(np.sqrt(np.sum(scaled * scaled, axis=0)), np.float32(0.05))
    return gauge, scaled / radii / gauge
