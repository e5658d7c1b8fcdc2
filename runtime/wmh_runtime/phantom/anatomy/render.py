"""Render a head on the grid of a scanner, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy.brain import evaluate_cerebrum
from wmh_runtime.phantom.anatomy.compartments import evaluate_compartments
from wmh_runtime.phantom.anatomy.hindbrain import paint_hindbrain
from wmh_runtime.phantom.anatomy.lesions import LesionTendency, WhiteMatter
from wmh_runtime.phantom.anatomy.outer_tissue import head_outline, paint_outer_tissue
from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.anatomy.ventricles import paint_flow
from wmh_runtime.phantom.shapes import Field, coverage, paint, smoothstep
from wmh_runtime.phantom.signals import Signals
from wmh_runtime.phantom.sites import Placement, Site

# Sampled depths within a slice, in slices. Their mean gives the partial volume effect along z.
DEPTHS = (-1 / 3, 0.0, 1 / 3)
MIN_WHITE_FRACTION = 0.3  # a voxel with less white matter has no lesion
SKIN_MARGIN_MM = 3.0  # points farther outside the skin are air
NO_WHITE_MATTER_MM = -99.0  # propensity outside white matter

MAX_DEEP_LESIONS = 130
CANDIDATE_POINTS = 9000


@dataclass(frozen=True)
class RenderedHead:
    """A head without lesions on a grid of (X, Y, Z) voxels, with the data for lesions.

    Args:
        signal: (X, Y, Z) relative signal.
        white_matter: cerebral white matter.
        variation: (V,) smooth field with zero mean and unit variance, for the contrast of lesions.
    """

    signal: NDArray[np.float32]
    white_matter: WhiteMatter
    variation: Field


def render_head(
    head: HeadParameters,
    signals: Signals,
    tendency: LesionTendency,
    placement: Placement,
    site: Site,
) -> RenderedHead:
    """Render a whole head, one slice at a time."""
    signal = np.zeros(site.shape, np.float32)
    parts = []
    for z in range(site.shape[2]):
        plane, part = _render_slice(head, signals, tendency, placement, site, z)
        signal[:, :, z] = plane.reshape(site.shape[:2])
        parts.append(part)
    voxels, white, propensity, variation = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return RenderedHead(signal, WhiteMatter(site.shape, voxels, white, propensity), variation)


def draw_deep_lesion_centers(
    rng: np.random.Generator, head: HeadParameters, signals: Signals
) -> NDArray[np.float32]:
    """Draw (K, 3) centers of possible deep lesions in the white matter of the standard head."""
    points = rng.uniform((-60, -72, -18), (60, 66, 56), (CANDIDATE_POINTS, 3)).astype(np.float32).T
    compartments = evaluate_compartments(head, points)
    brain = evaluate_cerebrum(head, signals, points, compartments)
    is_deep = (brain.white > 0.95) & (brain.pial_mm > 4.5) & (brain.callosal < 0.05)
    is_deep &= (brain.ventricle_mm > 3) & (compartments.cavity < -8)
    # Fewer in the temporal lobes.
    is_deep &= (points[2] > -4) | (rng.uniform(size=CANDIDATE_POINTS) < 0.25)
    return points.T[np.flatnonzero(is_deep)[:MAX_DEEP_LESIONS]]


_SlicePart = tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32], Field]


def _render_slice(
    head: HeadParameters,
    signals: Signals,
    tendency: LesionTendency,
    placement: Placement,
    site: Site,
    z: int,
) -> tuple[Field, _SlicePart]:
    """Return the relative signal (X * Y,) of one slice, and its data for lesions."""
    pixels = site.shape[0] * site.shape[1]
    points = np.concatenate(
        [placement.head_points(site.shape, z + depth) for depth in DEPTHS], axis=1
    )
    inside_box = np.flatnonzero((np.abs(points[0]) < 95) & (np.abs(points[1] - 5) < 115))
    standard = head.standardized(points[:, inside_box])
    compartments = evaluate_compartments(head, standard)
    outline = head_outline(head, standard, compartments.cavity)
    canvas = np.zeros(pixels * len(DEPTHS), np.float32)
    white = np.zeros_like(canvas)
    propensity = np.full_like(canvas, NO_WHITE_MATTER_MM)

    outside = np.flatnonzero((outline < SKIN_MARGIN_MM) & (compartments.cavity > -4))
    local = np.zeros(len(outside), np.float32)
    paint_outer_tissue(
        local, head, signals, standard[:, outside], compartments.at(outside), outline[outside]
    )
    canvas[inside_box[outside]] = local

    within = np.flatnonzero(compartments.cavity < 1)
    inner, near = standard[:, within], compartments.at(within)
    brain = evaluate_cerebrum(head, signals, inner, near)
    local = brain.signal
    paint_hindbrain(local, head, signals, inner, near)
    fluid = np.clip((0.7 - local) / np.float32(0.7 - signals.fluid), 0, 1)
    paint_flow(local, inner, fluid, head.artifacts)
    inside = canvas[inside_box[within]]
    paint(inside, local, coverage(near.cavity))
    canvas[inside_box[within]] = inside

    brain_white = brain.white * smoothstep(np.minimum(near.cerebellum, near.brainstem), 0, 2)
    white[inside_box[within]] = brain_white
    candidates = np.flatnonzero(brain_white > 0)
    white_points = inner[:, candidates]
    propensity[inside_box[within[candidates]]] = tendency.propensity(
        white_points, brain.at(candidates)
    )

    shape = (len(DEPTHS), pixels)
    voxels = np.flatnonzero(white.reshape(shape).mean(axis=0) > MIN_WHITE_FRACTION)
    variation = head.patches.value(points[:, pixels + voxels] * np.float32(1.7))
    flat_indices = voxels * site.shape[2] + z
    signal = canvas.reshape(shape).mean(axis=0)
    return signal, (
        flat_indices,
        white.reshape(shape)[:, voxels].T,
        propensity.reshape(shape)[:, voxels].T,
        variation,
    )
