"""Make a phantom: draw a person, a placement and a scanner, and put the picture together."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.phantom.acquisition import Acquisition
from wmh_runtime.phantom.anatomy.depict import deep_places, depict
from wmh_runtime.phantom.anatomy.lesions import Lesioning, grow
from wmh_runtime.phantom.anatomy.person import Person
from wmh_runtime.phantom.signals import Signals
from wmh_runtime.phantom.sites import SITES, Placement

LARGEST_LOAD_ML = 60.0
HALO_SHARE = 0.20  # contrast of diffuse change next to a lesion, over that of the lesion
LESION_VARIATION = 0.14  # standard deviation of the contrast from place to place ...
LARGEST_VARIATION = 0.22  # ... and its limit


@dataclass(frozen=True)
class PhantomFacts:
    """What is true of a phantom.

    Args:
        seed: as asked.
        site: as asked.
        load_ml: lesion volume asked for.
        volume_ml: lesion volume of the mask.
        lesion_count: 26-connected components of the mask.
        contrast_to_noise: brightness of a full lesion over white matter, over the noise's
            standard deviation.
        atrophy: 0 young to 1 advanced.
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
    """A scan with its truth.

    Args:
        image: (X, Y, Z) uint16, raw magnitudes, stored LPS, with noise in the air.
        lesions: (X, Y, Z) uint8, 1 = white matter hyperintensity.
        affine: (4, 4) float64, voxel index to RAS+ mm.
        facts: what is true of it.
    """

    image: NDArray[np.uint16]
    lesions: NDArray[np.uint8]
    affine: NDArray[np.float64]
    facts: PhantomFacts


def make_phantom(seed: int, site: str = "utrecht", load_ml: float = 10.0) -> Phantom:
    """Make a FLAIR-like scan of one head with a given load of white matter hyperintensities.

    The head depends on the seed and the site alone: with another load, the same lesions have
    grown or shrunk in the same head. The same arguments give the same arrays in every process.

    Args:
        seed: 0 or more.
        site: a name of `SITES`.
        load_ml: volume of the lesion mask, 0 to 60 mL.

    Raises:
        InputError: an argument is out of its range.
    """
    _check(seed, site, load_ml)
    scanner = SITES[site]
    streams = np.random.SeedSequence([seed, scanner.index]).spawn(5)
    for_person, for_signals, for_lesions, for_scan, for_noise = map(np.random.default_rng, streams)
    person = Person.draw(for_person)
    signals = Signals.draw(for_signals, scanner.fat)
    placement = Placement.draw(for_scan, scanner)
    acquisition = Acquisition.draw(for_scan, scanner)
    tendency = Lesioning.draw(for_lesions, deep_places(for_lesions, person, signals))

    anatomy = depict(person, signals, tendency, placement, scanner)
    grown = grow(anatomy.matter, load_ml / scanner.voxel_ml)
    variation = np.clip(LESION_VARIATION * anatomy.variation, -LARGEST_VARIATION, LARGEST_VARIATION)
    contrast = acquisition.lesion_contrast * (1 + variation)
    signal = anatomy.signal
    signal.reshape(-1)[anatomy.matter.voxels] += contrast * (
        grown.fraction + HALO_SHARE * grown.halo * (1 - grown.fraction)
    )
    mask = np.zeros(scanner.shape, np.uint8)
    mask.reshape(-1)[anatomy.matter.voxels[grown.fraction >= 0.5]] = 1

    facts = PhantomFacts(
        seed=seed,
        site=site,
        load_ml=load_ml,
        volume_ml=int(mask.sum()) * scanner.voxel_ml,
        lesion_count=int(cc3d.connected_components(mask, connectivity=26).max()),
        contrast_to_noise=acquisition.contrast_to_noise,
        atrophy=person.atrophy,
    )
    image = acquisition.record(for_noise, signal, scanner)
    return Phantom(image, mask, placement.affine, facts)


def _check(seed: int, site: str, load_ml: float) -> None:
    if site not in SITES:
        raise InputError(f"no site is called {site!r}", f"Choose one of {', '.join(SITES)}.")
    if seed < 0:
        raise InputError(f"the seed is {seed}", "Give a whole number of 0 or more.")
    if not 0 <= load_ml <= LARGEST_LOAD_ML:
        raise InputError(
            f"a lesion load of {load_ml} mL was asked for",
            f"Give a load between 0 and {LARGEST_LOAD_ML:g} mL.",
        )
