"""Tissue outside the brain: meninges, skull, scalp, eyes, face and neck.

All coordinates are those of the standard head, in mm. Paired shapes are given for the right side.
"""

from __future__ import annotations

import numpy as np

from wmh_runtime.phantom.anatomy.compartments import Compartments
from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.shapes import (
    Field,
    Points,
    capsule_chain,
    coverage,
    ellipsoid,
    gaussian,
    mirrored,
    paint,
    smooth_union,
    smoothstep,
)
from wmh_runtime.phantom.signals import Signals

DURA_MM = 0.8
SKULL_MM = 5.5
MARROW_MM = 2.2
SKIN_MM = 2.0

GLOBE_MM = (31.0, 66.0, -34.0)
NECK = ((0, -32, -50, 50), (0, -20, -100, 52), (0, -18, -200, 56))
JAW = ((48, 2, -62, 9), (44, 24, -98, 10), (14, 66, -112, 11))


def head_outline(head: HeadParameters, points: Points, cavity: Field) -> Field:
    """Return the distance (N,) in mm to the skin surface."""
    right = mirrored(points)
    wall = np.float32(DURA_MM + SKULL_MM + head.scalp_mm + SKIN_MM)
    face = ellipsoid(right, (0, 30, -52), (66, 60, 66))
    nose = capsule_chain(right, [(0, 84, -32, 7), (0, 97, -56, 9)])
    chin = ellipsoid(right, (0, 40, -100), (52, 48, 30))
    ear = capsule_chain(right, [(66, -10, -40, 5), (74, -14, -36, 5), (80, -22, -28, 2.5)])
    soft = smooth_union(smooth_union(face, nose, 8), smooth_union(chin, ear, 3), 10)
    whole = smooth_union(cavity - wall, soft, 12)
    return smooth_union(whole, capsule_chain(right, NECK), 12)


def paint_outer_tissue(
    canvas: Field,
    head: HeadParameters,
    signals: Signals,
    points: Points,
    compartments: Compartments,
    outline: Field,
) -> None:
    """Paint all tissue outside the brain on a canvas (N,) of air, in place."""
    _paint_soft_tissue(canvas, head, signals, points, outline)
    _paint_face(canvas, head, signals, points)
    _paint_skull(canvas, head, signals, points, compartments.cavity, outline)
    canvas *= coverage(outline)


def _paint_soft_tissue(
    canvas: Field, head: HeadParameters, signals: Signals, points: Points, outline: Field
) -> None:
    texture = head.texture.value(points)
    muscle = signals.muscle * (1 + np.float32(0.12) * texture)
    # Fat planes between the muscles, at the zeros of the smooth field.
    planes = 1 - smoothstep(np.abs(head.patches.value(points * np.float32(1.2))), 0.02, 0.3)
    paint(muscle, 0.7 * signals.fat, 0.55 * planes)
    canvas[:] = muscle
    fat = signals.fat * (1 + np.float32(0.08) * texture)
    paint(canvas, fat, coverage(-outline - np.float32(head.scalp_mm + SKIN_MM), 1.5))
    temporalis = ellipsoid(mirrored(points), (66, 16, -14), (9, 28, 34))
    paint(canvas, signals.muscle, coverage(temporalis, 2.0) * coverage(outline + 4))
    paint(canvas, signals.skin, coverage(-outline - np.float32(SKIN_MM)))


def _paint_skull(
    canvas: Field,
    head: HeadParameters,
    signals: Signals,
    points: Points,
    cavity: Field,
    outline: Field,
) -> None:
    # The skull base is thinner than the vault, has an uneven thickness and less marrow.
    base = smoothstep(-points[2], 8, 30)
    roughness = head.sulcal_depth.value(points)
    thickness = np.float32(SKULL_MM) * (1 - np.float32(0.55) * base)
    thickness += (np.float32(0.7) + base) * roughness
    thickness = np.maximum(thickness, np.float32(1.2))
    from_middle = np.abs(cavity - np.float32(DURA_MM) - thickness / 2)
    marrow = coverage(from_middle - np.float32(MARROW_MM / 2), 1.5)
    marrow *= np.clip(1 + 0.35 * head.texture.value(points), 0, 1.6) * (1 - 0.6 * base)
    bone = np.full(points.shape[1], signals.bone, np.float32)
    paint(bone, signals.marrow, marrow)
    shell = np.maximum(cavity - np.float32(DURA_MM) - thickness, np.float32(DURA_MM) - cavity)
    paint(canvas, bone, coverage(np.maximum(shell, outline + np.float32(SKIN_MM))))
    paint(canvas, signals.sinus, coverage(cavity - np.float32(DURA_MM)))
    # Flow voids: sagittal sinus below the midline of the vault, and transverse sinuses.
    sagittal = np.hypot(points[0], cavity - 1) - 3.2
    sagittal = np.maximum(sagittal, -points[2] - 10) + 4 * smoothstep(points[1], 40, 70)
    transverse = capsule_chain(
        mirrored(points), [(2, -80, -14, 3.5), (40, -62, -24, 4), (52, -28, -30, 4)]
    )
    voids = np.minimum(sagittal, transverse)
    paint(canvas, 0.5 * signals.sinus, coverage(voids, 1.5) * coverage(-cavity - 2))


def _paint_face(canvas: Field, head: HeadParameters, signals: Signals, points: Points) -> None:
    right = mirrored(points)
    x, y, z = GLOBE_MM
    orbit = capsule_chain(right, [(x, y - 2, z, 17), (12, 28, z + 4, 3)])
    paint(canvas, 0.9 * signals.fat, coverage(orbit, 1.5))
    nerve = capsule_chain(right, [(x - 1, y - 12, z, 2.2), (12, 28, z + 4, 2.0)])
    for offset in (-9.0, 9.0):
        rectus = capsule_chain(right, [(x + offset, y - 4, z, 1.8), (13, 30, z + 4, 1.2)])
        nerve = np.minimum(nerve, rectus)
    paint(canvas, 1.3 * signals.muscle, coverage(nerve))
    globe = ellipsoid(right, GLOBE_MM, (12, 12, 12))
    paint(canvas, signals.muscle, coverage(globe - 1))
    paint(canvas, signals.globe, coverage(globe))
    lens = ellipsoid(right, (x, y + 9, z), (4.5, 2.2, 4.5))
    paint(canvas, signals.muscle, coverage(lens))

    texture = head.texture.value(points)
    # Ethmoid and mastoid cells: air with thin mucosa.
    cells = np.minimum(
        ellipsoid(right, (0, 52, -34), (13, 20, 13)), ellipsoid(right, (54, -20, -46), (11, 14, 15))
    )
    paint(canvas, signals.bone + 0.25 * (texture > 0.9), coverage(cells, 2))
    clivus = ellipsoid(right, (0, 24, -50), (16, 10, 18))
    paint(canvas, signals.marrow, coverage(clivus, 2))
    sphenoid = ellipsoid(right, (8, 30, -34), (9, 10, 8))
    maxillary = ellipsoid(right, (27, 56, -64), (13, 15, 15))
    nasal = ellipsoid(right, (7, 62, -62), (6, 26, 16))
    throat = capsule_chain(right, [(0, 28, -66, 7), (0, 12, -90, 8), (0, 12, -200, 8)])
    for air in (sphenoid, maxillary, nasal, throat):
        paint(canvas, signals.mucosa, coverage(air - 1.2, 1.2))
        paint(canvas, 0.03, coverage(air))
    turbinate = ellipsoid(right, (6, 58, -66), (3, 18, 7))
    paint(canvas, signals.mucosa, coverage(turbinate, 1.5))

    teeth = capsule_chain(right, [(24, 44, -88, 6), (0, 74, -86, 6)])
    jaw = np.minimum(capsule_chain(right, JAW), teeth)
    paint(canvas, signals.bone, coverage(jaw))
    paint(canvas, 0.8 * signals.marrow, coverage(jaw + 4))
    spine = capsule_chain(right, [(0, 0, -76, 9), (0, -4, -200, 10)])
    arch = capsule_chain(right, [(0, -18, -72, 14), (0, -22, -200, 13)])
    canal = capsule_chain(right, [(0, -14, -60, 9.5), (0, -21, -200, 8.5)])
    paint(canvas, signals.bone, coverage(np.minimum(spine, arch)))
    paint(canvas, 0.9 * signals.marrow, coverage(spine + 2))
    paint(canvas, signals.fluid, coverage(canal))
    cord = capsule_chain(right, [(0, -14, -60, 6.5), (0, -21, -200, 5)])
    paint(canvas, signals.brainstem, coverage(cord))
    for center in ((48.0, 4.0, -70.0), (30.0, 4.0, -110.0)):
        paint(canvas, 1.2 * signals.fat, 0.5 * gaussian(right, center, (6, 8, 12)))
