"""Generate a phantom: draw head, position and scanner parameters, then render the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.phantom.acquisition import Acquisition
from wmh_runtime.phantom.anatomy.lesions import LesionMap, LesionTendency, grow_lesions
from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.anatomy.render import RenderedHead, draw_deep_lesion_centers, render_head
from wmh_runtime.phantom.signals import Signals
from wmh_runtime.phantom.sites import SITES, Placement, Site

LARGEST_LOAD_ML = 60.0
T1_LESION_CONTRAST = (-0.30, -0.10)  # lesion minus white matter
HALO_FRACTION = 0.20  # contrast of the diffuse change around lesions, relative to lesions
LESION_VARIATION = 0.14  # relative standard deviation of the contrast over the brain ...
LARGEST_VARIATION = 0.22  # ... and its limit


@dataclass(frozen=True)
class Subject:
    """A head that can be scanned several times.

    Args:
        head: its shape.
        signals: of its tissues.
        tendency: where its lesions are.
    """

    head: HeadParameters
    signals: Signals
    tendency: LesionTendency

    @staticmethod
    def draw(streams: Sequence[np.random.SeedSequence], scanner: Site) -> Subject:
        """Draw it from three streams: for the head, the signals and the lesions."""
        for_head, for_signals, for_lesions = map(np.random.default_rng, streams)
        head = HeadParameters.draw(for_head)
        signals = Signals.draw(for_signals, scanner.fat)
        centers = draw_deep_lesion_centers(for_lesions, head, signals)
        return Subject(head, signals, LesionTendency.draw(for_lesions, centers))


@dataclass(frozen=True)
class PhantomProperties:
    """Properties of a phantom.

    Args:
        seed: requested seed.
        site: requested site.
        load_ml: requested lesion volume.
        volume_ml: lesion volume of the mask.
        lesion_count: number of 26-connected components of the mask.
        contrast_to_noise: contrast between lesion and white matter / standard deviation of the
            noise.
        atrophy: 0 (none) to 1 (advanced).
    """

    seed: int
    site: str
    load_ml: float
    volume_ml: float
    lesion_count: int
    contrast_to_noise: float
    atrophy: float


@dataclass(frozen=True)
class Phantom:
    """A scan with its exact lesion mask.

    Args:
        image: (X, Y, Z) uint16, FLAIR, raw magnitudes in LPS order, with noise in the air.
        lesions: (X, Y, Z) uint8, 1 = white matter hyperintensity.
        affine: (4, 4) float64, voxel index to RAS+ mm.
        properties: see `PhantomProperties`.
        t1: T1 of the same head, as the image; None if it was not asked for.
    """

    image: NDArray[np.uint16]
    lesions: NDArray[np.uint8]
    affine: NDArray[np.float64]
    properties: PhantomProperties
    t1: NDArray[np.uint16] | None = None


def generate_phantom(
    seed: int, site: str = "utrecht", load_ml: float = 10.0, *, with_t1: bool = False
) -> Phantom:
    """Generate a FLAIR-like scan of a head with a given load of white matter hyperintensities.

    The head depends only on seed and site. With another load, the same lesions of the same head
    are larger or smaller. The same arguments always give the same arrays.

    Args:
        seed: 0 or more.
        site: a name in `SITES`.
        load_ml: volume of the lesion mask, 0 to 60 mL.
        with_t1: also make a T1, on the same grid; the FLAIR is the same without.

    Raises:
        InputError: an argument is out of range.
    """
    _check(seed, site, load_ml)
    scanner = SITES[site]
    streams = np.random.SeedSequence([seed, scanner.index]).spawn(6)
    for_scan, for_noise, for_t1 = map(np.random.default_rng, streams[3:])
    subject = Subject.draw(streams[:3], scanner)
    head, tendency = subject.head, subject.tendency
    placement = Placement.draw(for_scan, scanner)
    acquisition = Acquisition.draw(for_scan, scanner)

    rendered = render_head(head, subject.signals, tendency, placement, scanner)
    grown = grow_lesions(rendered.white_matter, load_ml / scanner.voxel_ml)
    mask = paint_lesions(rendered, grown, acquisition.lesion_contrast)

    properties = PhantomProperties(
        seed=seed,
        site=site,
        load_ml=load_ml,
        volume_ml=int(mask.sum()) * scanner.voxel_ml,
        lesion_count=int(cc3d.connected_components(mask, connectivity=26).max()),
        contrast_to_noise=acquisition.contrast_to_noise,
        atrophy=head.atrophy,
    )
    image = acquisition.acquire(for_noise, rendered.signal, scanner)
    if not with_t1:
        return Phantom(image, mask, placement.affine, properties)
    t1 = render_head(head, Signals.draw_t1(for_t1), tendency, placement, scanner).signal
    t1.reshape(-1)[rendered.white_matter.voxels] += for_t1.uniform(*T1_LESION_CONTRAST) * (
        grown.fraction
    )
    t1_scan = Acquisition.draw(for_t1, scanner).acquire(for_t1, np.maximum(t1, 0), scanner)
    return Phantom(image, mask, placement.affine, properties, t1_scan)


def paint_lesions(rendered: RenderedHead, grown: LesionMap, contrast: float) -> NDArray[np.uint8]:
    """Add lesions to the signal of a head, in place; return their mask (X, Y, Z).

    Args:
        rendered: the head without lesions.
        grown: its lesions.
        contrast: mean signal of a lesion minus signal of white matter.
    """
    variation = np.clip(
        LESION_VARIATION * rendered.variation, -LARGEST_VARIATION, LARGEST_VARIATION
    )
    voxels = rendered.white_matter.voxels
    rendered.signal.reshape(-1)[voxels] += (
        contrast
        * (1 + variation)
        * (grown.fraction + HALO_FRACTION * grown.halo * (1 - grown.fraction))
    )
    mask = np.zeros(rendered.signal.shape, np.uint8)
    mask.reshape(-1)[voxels[grown.fraction >= 0.5]] = 1
    return mask


def _check(seed: int, site: str, load_ml: float) -> None:
    if site not in SITES:
        raise InputError(f"got site {site!r}, expected one of {', '.join(SITES)}")
    if seed < 0:
        raise InputError(f"got seed {seed}, expected an integer of 0 or more")
    if not 0 <= load_ml <= LARGEST_LOAD_ML:
        raise InputError(f"got a lesion load of {load_ml} mL, expected 0 to {LARGEST_LOAD_ML:g} mL")
