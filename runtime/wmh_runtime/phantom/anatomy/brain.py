"""The cerebrum: fissures, folded cortex, white matter and what lies in it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy import ventricles as deep
from wmh_runtime.phantom.anatomy.compartments import Compartments, cerebrum_gauge
from wmh_runtime.phantom.anatomy.person import Person
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

# How far sulci keep the direction of the radius: 1 would make them perfectly radial.
RADIAL_CONSTANCY = 0.8
KINK_MM = 2.2
SULCUS_DEPTH_MM = 15.0
SULCUS_DEPTH_SPREAD_MM = 4.5
# Sulci end this far from the ventricles, and within this ellipsoid there are none.
SULCUS_CLEARANCE_MM = 8.0
CORE = ((0.0, 6.0, 4.0), (34.0, 40.0, 22.0))

# The callosum's upper edge, an ellipse in the (y, z) plane: the interhemispheric fissure ends here.
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
    """What the cerebrum looks like at (N,) points.

    Args:
        signal: relative signal, fluid included.
        white: fraction of cerebral white matter, 0 to 1.
        ventricle_mm: distance to the lateral ventricles.
        pial_mm: depth under the nearest surface of the cortex.
        callosal: 1 in the corpus callosum and septum, 0 away from them.
    """

    signal: Field
    white: Field
    ventricle_mm: Field
    pial_mm: Field
    callosal: Field

    def at(self, chosen: NDArray[np.intp]) -> Cerebrum:
        """The same at some of the points."""
        return Cerebrum(*(getattr(self, field.name)[chosen] for field in fields(self)))


def cerebrum(person: Person, signals: Signals, points: Points, solids: Compartments) -> Cerebrum:
    """Evaluate the cerebrum at standard-head points (3, N) inside the skull."""
    ventricle = deep.lateral_ventricles(points, person.ventricle_mm)
    callosal = _callosal(points)
    surface = _smooth_surface_depth(person, points, solids, callosal)
    sulcus = _sulcus_distance(person, points, surface, ventricle)
    # Sulci gape a little where they open to the surface.
    gape = np.float32(0.7) * np.exp(-np.maximum(surface, 0) / np.float32(3))
    pial = np.minimum(surface, sulcus - np.float32(0.3 + 0.75 * person.atrophy) - gape)

    patches = person.patches.value(points)
    brain = coverage(-pial)
    cortex = brain * coverage(pial - np.float32(person.cortex_mm), 1.6)
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
    third = deep.third_ventricle(points, person.ventricle_mm)
    for cavity in (ventricle, third):
        cover = coverage(cavity)
        paint(signal, signals.fluid, cover)
        white *= 1 - cover
    plexus = coverage(deep.choroid_plexus(points) + patches, 1.5)
    plexus *= coverage(ventricle, 1.5) * (0.8 + 0.2 * person.texture.value(points))
    paint(signal, signals.choroid, plexus)
    return Cerebrum(signal, white, ventricle, pial, callosal)


def _smooth_surface_depth(
    person: Person, points: Points, solids: Compartments, callosal: Field
) -> Field:
    """Depth under the surface of the hemispheres with their great fissures but without sulci."""
    depth = np.minimum(-solids.cerebrum, _interhemispheric_distance(person, points))
    depth = np.minimum(depth, _sylvian_distance(person, points))
    # The callosum bridges the fissure without a cortex of its own.
    return depth + 4 * callosal


def _callosum_gauge_mm(points: Points) -> Field:
    """Distance above (positive) or below the callosum's upper edge, ignoring x."""
    y = (points[1] - np.float32(CALLOSUM_CENTER_MM[0])) / np.float32(CALLOSUM_RADII_MM[0])
    z = (points[2] - np.float32(CALLOSUM_CENTER_MM[1])) / np.float32(CALLOSUM_RADII_MM[1])
    return (np.sqrt(y * y + z * z) - 1) * np.float32(min(CALLOSUM_RADII_MM))


def _callosal(points: Points) -> Field:
    above = _callosum_gauge_mm(points)
    arch = smoothstep(above, -CALLOSUM_THICKNESS_MM - 3, -CALLOSUM_THICKNESS_MM)
    arch *= smoothstep(-above, -0.5, 1.0) * smoothstep(points[2], -2, 8)
    return arch * smoothstep(-np.abs(points[0]), -16, -9)


def _interhemispheric_distance(person: Person, points: Points) -> Field:
    sway = np.float32(0.8) * person.patches.value(points)
    sideways = np.abs(points[0] + sway) - np.float32(0.5 + 1.2 * person.atrophy)
    short = np.maximum(-_callosum_gauge_mm(points), 0)
    return np.hypot(np.maximum(sideways, 0), 2 * short) + np.minimum(sideways, 0)


def _sylvian_distance(person: Person, points: Points) -> Field:
    """Distance to the cleft between temporal and frontal lobe, and to the insula at its bottom."""
    right = mirrored(points)
    x, y, z = right
    sway = np.float32(2.6) * person.sulcal_depth.value(points)
    level = z - (-3 - np.float32(0.35) * (y - 20) + np.float32(0.3) * (x - 50)) + sway
    width = np.float32(0.5 + 1.3 * person.atrophy)
    beyond = outside_interval(y, -30, 30)
    cleft = np.hypot(np.hypot(level, outside_interval(x, INSULA_X_MM, 200)), beyond)
    # The island curves outwards at its front and back.
    bottom = x - np.float32(INSULA_X_MM) + np.float32(0.006) * (y - 10) ** 2 + 0.5 * sway
    along = np.hypot(outside_interval(level, -9, 11), outside_interval(y, -14, 32))
    island = np.hypot(bottom, along)
    return np.minimum(cleft, island) - width


def _sulcus_distance(person: Person, points: Points, surface: Field, ventricle: Field) -> Field:
    """Distance to the nearest sulcus: sheets that hang from the surface to a varying depth.

    The folding field is evaluated at places carried outwards along the radius, q = p g⁻ᵝ with g
    the size of the vault through p, so sheets run inwards; ∇q follows from ∇g.
    """
    gauge, gauge_gradient = cerebrum_gauge(points)
    shrink = gauge ** np.float32(-RADIAL_CONSTANCY)
    wound = np.stack([field.value(points) for field in person.kinks])
    wound *= np.float32(KINK_MM)
    wound += points * shrink
    value, gradient = person.folding.value_and_gradient(wound)
    inward = np.sum(points * gradient, axis=0) * np.float32(RADIAL_CONSTANCY) / gauge
    gradient = shrink * (gradient - gauge_gradient * inward)
    sheet = sheet_distance(value, gradient, person.folding.wave_number)

    reach = np.float32(SULCUS_DEPTH_MM) + np.float32(
        SULCUS_DEPTH_SPREAD_MM
    ) * person.sulcal_depth.value(points * shrink)
    center, radii = CORE
    inside_core = 1 - np.sqrt(
        np.sum(((points - np.array(center, np.float32)[:, None]) / np.array([radii]).T) ** 2, 0)
    )
    reach *= smoothstep(-inside_core.astype(np.float32), -0.12, 0.25)
    too_deep = np.maximum(surface - reach, 0)
    too_close = np.maximum(np.float32(SULCUS_CLEARANCE_MM) - ventricle, 0)
    return np.hypot(sheet, too_deep + too_close)


def _cortex_signal(signals: Signals, points: Points, patches: Field) -> Field:
    right = mirrored(points)
    limbic = np.zeros(points.shape[1], np.float32)
    for center, widths in LIMBIC_SPOTS:
        limbic = np.maximum(limbic, gaussian(right, center, widths))
    return signals.cortex + np.float32(0.07) * patches + np.float32(signals.limbic) * limbic
