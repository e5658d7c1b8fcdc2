"""Put the parts of a head together on a scanner's grid, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy.brain import cerebrum
from wmh_runtime.phantom.anatomy.compartments import compartments
from wmh_runtime.phantom.anatomy.hindbrain import paint_hindbrain
from wmh_runtime.phantom.anatomy.lesions import Lesioning, WhiteMatter
from wmh_runtime.phantom.anatomy.person import Person
from wmh_runtime.phantom.anatomy.surroundings import head_outline, paint_surroundings
from wmh_runtime.phantom.anatomy.ventricles import paint_flow
from wmh_runtime.phantom.shapes import Field, coverage, paint, smoothstep
from wmh_runtime.phantom.signals import Signals
from wmh_runtime.phantom.sites import Placement, Site

# Depths within a slice, in slices, whose mean is the slice: partial volume along z.
DEPTHS = (-1 / 3, 0.0, 1 / 3)
WHITE_AT_LEAST = 0.3  # a voxel with less white matter than this holds no lesion
AIR_BEYOND_MM = 3.0
NO_PROPENSITY_MM = -99.0  # where there is no white matter

DEEP_SOURCES = 130
CANDIDATES = 9000


@dataclass(frozen=True)
class Depiction:
    """A head without lesions on a grid of (X, Y, Z) voxels, and what lesions need to know.

    Args:
        signal: (X, Y, Z) relative signal.
        matter: the cerebral white matter.
        variation: (V,) slow field of zero mean and unit variance.
    """

    signal: NDArray[np.float32]
    matter: WhiteMatter
    variation: Field


def depict(
    person: Person, signals: Signals, tendency: Lesioning, placement: Placement, site: Site
) -> Depiction:
    """Evaluate a whole head, one slice at a time."""
    signal = np.zeros(site.shape, np.float32)
    parts = []
    for z in range(site.shape[2]):
        plane, part = _slice(person, signals, tendency, placement, site, z)
        signal[:, :, z] = plane.reshape(site.shape[:2])
        parts.append(part)
    voxels, white, propensity, variation = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Depiction(signal, WhiteMatter(site.shape, voxels, white, propensity), variation)


def deep_places(rng: np.random.Generator, person: Person, signals: Signals) -> NDArray[np.float32]:
    """Draw (K, 3) places in the white matter of the standard head where deep lesions may start."""
    points = rng.uniform((-60, -72, -18), (60, 66, 56), (CANDIDATES, 3)).astype(np.float32).T
    solids = compartments(person, points)
    brain = cerebrum(person, signals, points, solids)
    deep_enough = (brain.white > 0.95) & (brain.pial_mm > 4.5) & (brain.callosal < 0.05)
    deep_enough &= (brain.ventricle_mm > 3) & (solids.cavity < -8)
    # Few start in the temporal lobes.
    deep_enough &= (points[2] > -4) | (rng.uniform(size=CANDIDATES) < 0.25)
    return points.T[np.flatnonzero(deep_enough)[:DEEP_SOURCES]]


_Part = tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32], Field]


def _slice(
    person: Person,
    signals: Signals,
    tendency: Lesioning,
    placement: Placement,
    site: Site,
    z: int,
) -> tuple[Field, _Part]:
    """The relative signal (X * Y,) of one slice, and its part of what lesions need."""
    pixels = site.shape[0] * site.shape[1]
    points = np.concatenate(
        [placement.head_points(site.shape, z + depth) for depth in DEPTHS], axis=1
    )
    inside_box = np.flatnonzero((np.abs(points[0]) < 95) & (np.abs(points[1] - 5) < 115))
    place = person.standardized(points[:, inside_box])
    solids = compartments(person, place)
    outline = head_outline(person, place, solids.cavity)
    canvas = np.zeros(pixels * len(DEPTHS), np.float32)
    white = np.zeros_like(canvas)
    propensity = np.full_like(canvas, NO_PROPENSITY_MM)

    outside = np.flatnonzero((outline < AIR_BEYOND_MM) & (solids.cavity > -4))
    local = np.zeros(len(outside), np.float32)
    paint_surroundings(
        local, person, signals, place[:, outside], solids.at(outside), outline[outside]
    )
    canvas[inside_box[outside]] = local

    within = np.flatnonzero(solids.cavity < 1)
    core, near = place[:, within], solids.at(within)
    brain = cerebrum(person, signals, core, near)
    local = brain.signal
    paint_hindbrain(local, person, signals, core, near)
    fluid = np.clip((0.7 - local) / np.float32(0.7 - signals.fluid), 0, 1)
    paint_flow(local, core, fluid, person.artifacts)
    full = canvas[inside_box[within]]
    paint(full, local, coverage(near.cavity))
    canvas[inside_box[within]] = full

    brain_white = brain.white * smoothstep(np.minimum(near.cerebellum, near.brainstem), 0, 2)
    white[inside_box[within]] = brain_white
    candidates = np.flatnonzero(brain_white > 0)
    chosen = core[:, candidates]
    propensity[inside_box[within[candidates]]] = tendency.propensity(chosen, brain.at(candidates))

    by_depth = (len(DEPTHS), pixels)
    voxels = np.flatnonzero(white.reshape(by_depth).mean(axis=0) > WHITE_AT_LEAST)
    variation = person.patches.value(points[:, pixels + voxels] * np.float32(1.7))
    flat = voxels * site.shape[2] + z
    signal = canvas.reshape(by_depth).mean(axis=0)
    return signal, (
        flat,
        white.reshape(by_depth)[:, voxels].T,
        propensity.reshape(by_depth)[:, voxels].T,
        variation,
    )
