"""The cerebrum: fissures, folded cortex, white matter, deep gray matter and ventricles."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy import ventricles as deep
from wmh_runtime.phantom.anatomy.compartments import Compartments, cerebrum_gauge
from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.shapes import (
    Field,
    Points,
    coverage,
    gaussian,
    mirrored,
    outside_interval,
    paint,
    smoothstep,
)
from wmh_runtime.phantom.signals import Signals
from wmh_runtime.phantom.waves import sheet_distance

# Direction of sulci: 1 would make them exactly radial.
RADIAL_EXPONENT = 0.8
WINDING_MM = 2.2
SULCUS_DEPTH_MM = 15.0
SULCUS_DEPTH_SPREAD_MM = 4.5
# Sulci end at this distance from the ventricles, and there are none inside this ellipsoid.
SULCUS_CLEARANCE_MM = 8.0
CORE = ((0.0, 6.0, 4.0), (34.0, 40.0, 22.0))

# Upper edge of the corpus callosum, an ellipse in the (y, z) plane. The interhemispheric fissure
# ends here.
CALLOSUM_CENTER_MM = (5.0, 6.0)
CALLOSUM_RADII_MM = (38.0, 23.0)
CALLOSUM_THICKNESS_MM = 6.0

INSULA_X_MM = 38.0
LIMBIC_SPOTS = (
    ((25.0, 6.0, -18.0), (8.0, 20.0, 7.0)),  # hippocampus and amygdala
    ((38.0, 12.0, 2.0), (6.0, 16.0, 11.0)),  # insula
    ((5.0, 30.0, 22.0), (6.0, 18.0, 10.0)),  # anterior cingulum
)


@dataclass(frozen=True)
class Cerebrum:
    """Properties of the cerebrum at (N,) points.

    Args:
        signal: relative signal, including fluid.
        white: fraction of cerebral white matter, 0 to 1.
        ventricle_mm: distance to the lateral ventricles.
        pial_mm: depth below the nearest cortical surface.
        callosal: 1 in the corpus callosum and septum, 0 away from them.
    """

    signal: Field
    white: Field
    ventricle_mm: Field
    pial_mm: Field
    callosal: Field

    def at(self, indices: NDArray[np.intp]) -> Cerebrum:
        """Return the properties at selected points."""
        return Cerebrum(*(getattr(self, field.name)[indices] for field in fields(self)))


def evaluate_cerebrum(
    head: HeadParameters, signals: Signals, points: Points, compartments: Compartments
) -> Cerebrum:
    """Evaluate the cerebrum at points (3, N) of the standard head inside the skull."""
    ventricle = deep.lateral_ventricles(points, head.ventricle_mm)
    callosal = _callosal(points)
    surface = _smooth_surface_depth(head, points, compartments, callosal)
    sulcus = _sulcus_distance(head, points, surface, ventricle)
    # Sulci are wider near the surface.
    opening = np.float32(0.7) * np.exp(-np.maximum(surface, 0) / np.float32(3))
    pial = np.minimum(surface, sulcus - np.float32(0.3 + 0.75 * head.atrophy) - opening)

    patches = head.patches.value(points)
    brain = coverage(-pial)
    cortex = brain * coverage(pial - np.float32(head.cortex_mm), 1.6)
    white = brain - cortex
    signal = np.full(points.shape[1], signals.fluid, np.float32)
    paint(signal, 1 - (1 - signals.callosum) * callosal, brain)
    paint(signal, _cortex_signal(signals, points, patches), cortex)
    edge = np.exp(-np.maximum(ventricle, 0) / np.float32(1.2))
    signal += signals.ependyma * edge * white

    for distance, value, edge_mm in (
        (deep.putamen(points), signals.putamen, 1.6),
        (deep.pallidum(points), signals.pallidum, 1.6),
        (deep.thalamus(points), signals.thalamus, 3.0),
        (deep.caudate(points), signals.caudate, 1.6),
    ):
        cover = coverage(distance, edge_mm) * brain
        paint(signal, value, cover)
        white *= 1 - cover
    third = deep.third_ventricle(points, head.ventricle_mm)
    for cavity in (ventricle, third):
        cover = coverage(cavity)
        paint(signal, signals.fluid, cover)
        white *= 1 - cover
    plexus = coverage(deep.choroid_plexus(points) + patches, 1.5)
    plexus *= coverage(ventricle, 1.5) * (0.8 + 0.2 * head.texture.value(points))
    paint(signal, signals.choroid, plexus)
    return Cerebrum(signal, white, ventricle, pial, callosal)


def _smooth_surface_depth(
    head: HeadParameters, points: Points, compartments: Compartments, callosal: Field
) -> Field:
    """Return the depth below the surface of the hemispheres, with large fissures, without sulci."""
    depth = np.minimum(-compartments.cerebrum, _interhemispheric_distance(head, points))
    depth = np.minimum(depth, _sylvian_distance(head, points))
    # The corpus callosum connects the hemispheres and has no cortex.
    return depth + 4 * callosal


def _callosum_gauge_mm(points: Points) -> Field:
    """Return the distance above (positive) or below the upper edge of the callosum in (y, z)."""
    y = (points[1] - np.float32(CALLOSUM_CENTER_MM[0])) / np.float32(CALLOSUM_RADII_MM[0])
    z = (points[2] - np.float32(CALLOSUM_CENTER_MM[1])) / np.float32(CALLOSUM_RADII_MM[1])
    return (np.sqrt(y * y + z * z) - 1) * np.float32(min(CALLOSUM_RADII_MM))


def _callosal(points: Points) -> Field:
    """Return 1 in the corpus callosum and septum, 0 away from them."""
    above = _callosum_gauge_mm(points)
    arch = smoothstep(above, -CALLOSUM_THICKNESS_MM - 3, -CALLOSUM_THICKNESS_MM)
    arch *= smoothstep(-above, -0.5, 1.0) * smoothstep(points[2], -2, 8)
    return arch * smoothstep(-np.abs(points[0]), -16, -9)


def _interhemispheric_distance(head: HeadParameters, points: Points) -> Field:
    """Return the distance to the interhemispheric fissure, which ends at the corpus callosum."""
    sway = np.float32(0.8) * head.patches.value(points)
    lateral = np.abs(points[0] + sway) - np.float32(0.5 + 1.2 * head.atrophy)
    below = np.maximum(-_callosum_gauge_mm(points), 0)
    return np.hypot(np.maximum(lateral, 0), 2 * below) + np.minimum(lateral, 0)


def _sylvian_distance(head: HeadParameters, points: Points) -> Field:
    """Return the distance to the Sylvian fissure, including the insula at its bottom."""
    right = mirrored(points)
    x, y, z = right
    sway = np.float32(2.6) * head.sulcal_depth.value(points)
    level = z - (-3 - np.float32(0.35) * (y - 20) + np.float32(0.3) * (x - 50)) + sway
    width = np.float32(0.5 + 1.3 * head.atrophy)
    outside_y = outside_interval(y, -30, 30)
    fissure = np.hypot(np.hypot(level, outside_interval(x, INSULA_X_MM, 200)), outside_y)
    # The insula curves outwards at its anterior and posterior ends.
    bottom = x - np.float32(INSULA_X_MM) + np.float32(0.006) * (y - 10) ** 2 + 0.5 * sway
    along = np.hypot(outside_interval(level, -9, 11), outside_interval(y, -14, 32))
    insula = np.hypot(bottom, along)
    return np.minimum(fissure, insula) - width


def _sulcus_distance(
    head: HeadParameters, points: Points, surface: Field, ventricle: Field
) -> Field:
    """Return the distance to the nearest sulcus. Sulci are sheets from the surface inwards.

    Sheets are the zeros of the folding field at points q = p g⁻ᵝ. Here g is the relative size of
    the ellipsoid through p, and β is `RADIAL_EXPONENT`. So the sheets are nearly radial. The
    gradient in p follows from the chain rule. The depth of sulci varies over the surface.
    """
    gauge, gauge_gradient = cerebrum_gauge(points)
    scale = gauge ** np.float32(-RADIAL_EXPONENT)
    warped = np.stack([field.value(points) for field in head.winding])
    warped *= np.float32(WINDING_MM)
    warped += points * scale
    value, gradient = head.folding.value_and_gradient(warped)
    radial = np.sum(points * gradient, axis=0) * np.float32(RADIAL_EXPONENT) / gauge
    gradient = scale * (gradient - gauge_gradient * radial)
    sheet = sheet_distance(value, gradient, head.folding.wave_number)

    depth_limit = np.float32(SULCUS_DEPTH_MM) + np.float32(
        SULCUS_DEPTH_SPREAD_MM
    ) * head.sulcal_depth.value(points * scale)
    center, radii = CORE
    inside_core = 1 - np.sqrt(
        np.sum(((points - np.array(center, np.float32)[:, None]) / np.array([radii]).T) ** 2, 0)
    )
    depth_limit *= smoothstep(-inside_core.astype(np.float32), -0.12, 0.25)
    too_deep = np.maximum(surface - depth_limit, 0)
    too_close = np.maximum(np.float32(SULCUS_CLEARANCE_MM) - ventricle, 0)
    return np.hypot(sheet, too_deep + too_close)


def _cortex_signal(signals: Signals, points: Points, patches: Field) -> Field:
    right = mirrored(points)
    limbic = np.zeros(points.shape[1], np.float32)
    for center, widths in LIMBIC_SPOTS:
        limbic = np.maximum(limbic, gaussian(right, center, widths))
    return signals.cortex + np.float32(0.07) * patches + np.float32(signals.limbic) * limbic
