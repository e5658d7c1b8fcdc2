"""Cerebellum with its leaves, brainstem, and the fluid around them."""

from __future__ import annotations

import numpy as np

from wmh_runtime.phantom.anatomy import ventricles as deep
from wmh_runtime.phantom.anatomy.compartments import Compartments
from wmh_runtime.phantom.anatomy.person import Person
from wmh_runtime.phantom.shapes import Field, Points, coverage, mirrored, norm, paint, smoothstep
from wmh_runtime.phantom.signals import Signals

LEAF_SPACING_MM = 6.5
LEAF_CENTER_MM = (0.0, -6.0, -26.0)
LEAF_DEPTH_MM = 10.0


def paint_hindbrain(
    canvas: Field, person: Person, signals: Signals, points: Points, solids: Compartments
) -> None:
    """Paint cerebellum, brainstem and fourth ventricle over a canvas (N,), in place."""
    depth = -solids.cerebellum
    leaf = _leaf_distance(person, points)
    leafy = smoothstep(depth, -1, 2) * smoothstep(-depth, -LEAF_DEPTH_MM - 4, -LEAF_DEPTH_MM)
    value = np.full(points.shape[1], signals.white, np.float32)
    grey = 1 - smoothstep(leaf, 1.2, 2.2)
    grey = np.maximum(grey, smoothstep(-depth, -3.5, -2)) * np.maximum(leafy, 0.15)
    paint(value, 0.92 * signals.cortex, grey)
    cleft: Field = coverage(leaf - np.float32(0.15 + 0.3 * person.atrophy), 0.8) * leafy
    paint(value, signals.fluid, 0.8 * cleft)
    paint(canvas, value, coverage(solids.cerebellum))

    stem = signals.brainstem + np.float32(0.03) * person.texture.value(points)
    paint(canvas, stem, coverage(solids.brainstem, 1.5))
    peduncle = np.hypot(mirrored(points)[0] - 17, points[2] + 30) - 7
    peduncle = np.maximum(peduncle, np.abs(points[1] + 8) - 12)
    paint(canvas, stem, coverage(peduncle, 2.0))
    fourth = deep.fourth_ventricle(points, person.ventricle_mm)
    paint(canvas, signals.fluid, coverage(fourth))


def _leaf_distance(person: Person, points: Points) -> Field:
    """Distance to the fissures between leaves, which wrap around the fourth ventricle."""
    center = np.asarray(LEAF_CENTER_MM, np.float32)[:, None]
    radius = norm((points - center) * np.array([[0.55], [1.0], [1.1]], np.float32))
    turn = np.float32(np.pi / LEAF_SPACING_MM) * radius + np.float32(1.3) * person.folia.value(
        points
    )
    return np.abs(np.arcsin(np.clip(np.sin(turn), -1, 1))) * np.float32(LEAF_SPACING_MM / np.pi)
