"""Cerebellum with its folia, brainstem, and fourth ventricle."""

from __future__ import annotations

import numpy as np

from wmh_runtime.phantom.anatomy import ventricles as deep
from wmh_runtime.phantom.anatomy.compartments import Compartments
from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.shapes import Field, Points, coverage, mirrored, norm, paint, smoothstep
from wmh_runtime.phantom.signals import Signals

FOLIUM_SPACING_MM = 6.5
FOLIUM_CENTER_MM = (0.0, -6.0, -26.0)
FOLIUM_DEPTH_MM = 10.0


def paint_hindbrain(
    canvas: Field,
    head: HeadParameters,
    signals: Signals,
    points: Points,
    compartments: Compartments,
) -> None:
    """Paint cerebellum, brainstem and fourth ventricle over a canvas (N,), in place."""
    depth = -compartments.cerebellum
    fissure = _fissure_distance(head, points)
    has_folia = smoothstep(depth, -1, 2) * smoothstep(
        -depth, -FOLIUM_DEPTH_MM - 4, -FOLIUM_DEPTH_MM
    )
    value = np.full(points.shape[1], signals.white, np.float32)
    gray = 1 - smoothstep(fissure, 1.2, 2.2)
    gray = np.maximum(gray, smoothstep(-depth, -3.5, -2)) * np.maximum(has_folia, 0.15)
    paint(value, 0.92 * signals.cortex, gray)
    fluid: Field = coverage(fissure - np.float32(0.15 + 0.3 * head.atrophy), 0.8) * has_folia
    paint(value, signals.fluid, 0.8 * fluid)
    paint(canvas, value, coverage(compartments.cerebellum))

    stem = signals.brainstem + np.float32(0.03) * head.texture.value(points)
    paint(canvas, stem, coverage(compartments.brainstem, 1.5))
    peduncle = np.hypot(mirrored(points)[0] - 17, points[2] + 30) - 7
    peduncle = np.maximum(peduncle, np.abs(points[1] + 8) - 12)
    paint(canvas, stem, coverage(peduncle, 2.0))
    fourth = deep.fourth_ventricle(points, head.ventricle_mm)
    paint(canvas, signals.fluid, coverage(fourth))


def _fissure_distance(head: HeadParameters, points: Points) -> Field:
    """Return the distance to the fissures between folia, which surround the fourth ventricle."""
    center = np.asarray(FOLIUM_CENTER_MM, np.float32)[:, None]
    radius = norm((points - center) * np.array([[0.55], [1.0], [1.1]], np.float32))
    phase = np.float32(np.pi / FOLIUM_SPACING_MM) * radius + np.float32(1.3) * head.folia.value(
        points
    )
    return np.abs(np.arcsin(np.clip(np.sin(phase), -1, 1))) * np.float32(FOLIUM_SPACING_MM / np.pi)
