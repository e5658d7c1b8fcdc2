"""Scan one head several times: in other positions, on other grids, with other noise.

The lesions of a head are where their propensity is above a level in mm. So they are the same
lesions on every grid, at one level. With an edited tendency, lesions come, grow and go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.acquisition import Acquisition
from wmh_runtime.phantom.anatomy.lesions import lesions_at, level_of_load
from wmh_runtime.phantom.anatomy.render import render_head
from wmh_runtime.phantom.head import Subject, paint_lesions
from wmh_runtime.phantom.sites import Placement, Site


@dataclass(frozen=True)
class Rescan:
    """One scan of a head.

    Args:
        image: (X, Y, Z) uint16, raw magnitudes.
        lesions: (X, Y, Z) uint8, 1 in lesions.
        affine: (4, 4) float64, voxel index to RAS+ mm. It does not tell how the head moved from
            scan to scan.
    """

    image: NDArray[np.uint16]
    lesions: NDArray[np.uint8]
    affine: NDArray[np.float64]


def draw_subject(seed: int, scanner: Site) -> Subject:
    """Draw a head: that of `generate_phantom` with this seed and scanner."""
    return Subject.draw(np.random.SeedSequence([seed, scanner.index]).spawn(3), scanner)


def draw_level_mm(subject: Subject, scanner: Site, load_ml: float, *, seed: int) -> float:
    """Return the level of propensity at which a head has a lesion load on a scanner."""
    placement = Placement.draw(np.random.default_rng(seed), scanner)
    rendered = render_head(subject.head, subject.signals, subject.tendency, placement, scanner)
    return level_of_load(rendered.white_matter, load_ml / scanner.voxel_ml)


def rescan(
    subject: Subject, scanner: Site, acquisition: Acquisition, level_mm: float, *, seed: int
) -> Rescan:
    """Scan a head.

    Args:
        subject: the head.
        scanner: with its grid.
        acquisition: contrast, noise and shading.
        level_mm: of propensity, at which there is lesion.
        seed: of position and noise; another one gives another position.
    """
    rng = np.random.default_rng(seed)
    placement = Placement.draw(rng, scanner)
    rendered = render_head(subject.head, subject.signals, subject.tendency, placement, scanner)
    grown = lesions_at(rendered.white_matter, level_mm)
    mask = paint_lesions(rendered, grown, acquisition.lesion_contrast)
    return Rescan(acquisition.acquire(rng, rendered.signal, scanner), mask, placement.affine)
