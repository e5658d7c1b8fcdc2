"""What may be wrong with a comparison of two visits, in one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wmh_runtime.change.pair.halfway import HalfwayTransforms
from wmh_runtime.change.pair.resampling import BroughtVisits, Visits
from wmh_runtime.change.visits import LESION_LEVEL

_FAR_MM, _FAR_DEGREES = 40.0, 20.0  # more than a head is placed differently in a scanner
# Measured (docs/change.md): up to 0.7 mm for scans of one head, 2.6 mm and more for two people.
_MAX_DISAGREEMENT_MM = 1.5
# In the brain 0.08 and more for one head, 0.02 for two people. In the whole head, whose outline all
# people share, 0.27 and more, and up to 0.21.
_MIN_SIMILARITY_OF_BRAINS, _MIN_SIMILARITY_OF_HEADS = 0.05, 0.24
_MAX_BRAIN_DIFFERENCE = 0.1  # of the volumes; atrophy is below 1 % in a year


def doubts(
    visits: Visits,
    transforms: HalfwayTransforms,
    brought: BroughtVisits,
    similarity: float,
    protocol_differences: Sequence[str],
) -> Iterator[str]:
    """Yield warnings, each with the number that caused it.

    Args:
        visits: that are compared.
        transforms: to their halfway space.
        brought: the visits there.
        similarity: of both images, 0 to 1, in the brain, or in the head if it is not known.
        protocol_differences: of both scans.
    """
    names = [visit.scan.path.name for visit in visits]
    if protocol_differences:
        yield (
            f"{names[0]} and {names[1]} were acquired differently"
            f" ({'; '.join(protocol_differences)}): volumes differ for this reason, too, and the"
            " uncertainties are wider"
        )
    for path in dict.fromkeys(path for visit in visits for path in visit.acquisition.unreadable):
        yield f"{path.name} cannot be read: what it says of the acquisition does not count"
    if transforms.mm > _FAR_MM or transforms.degrees > _FAR_DEGREES:
        yield (
            f"{names[1]} was moved by {transforms.mm:.0f} mm and {transforms.degrees:.0f}° to"
            f" {names[0]}: check in the picture that they match"
        )
    if transforms.disagreement_mm > _MAX_DISAGREEMENT_MM:
        yield (
            f"registration of {names[1]} and {names[0]} in both directions differs by"
            f" {transforms.disagreement_mm:.1f} mm, expected {_MAX_DISAGREEMENT_MM:g} or less:"
            " check in the picture that they match"
        )
    least = _MIN_SIMILARITY_OF_BRAINS if brought.regions else _MIN_SIMILARITY_OF_HEADS
    if similarity < least:
        yield (
            f"the similarity of {names[0]} and {names[1]} is {similarity:.2f}, expected"
            f" {least:g} or more: check that they are of one person and one contrast"
        )
    yield from _about_brains(visits, names)
    yield from _about_coverage(brought, names)


def _about_brains(visits: Visits, names: list[str]) -> Iterator[str]:
    brains_ml = [
        np.count_nonzero(visit.brain) * visit.scan.voxel_volume_mm3 / 1000
        for visit in visits
        if visit.brain is not None
    ]
    if len(brains_ml) == 2 and max(brains_ml) > (1 + _MAX_BRAIN_DIFFERENCE) * min(brains_ml):
        yield (
            f"the brains in {names[0]} and {names[1]} have {brains_ml[0]:.0f} and"
            f" {brains_ml[1]:.0f} mL: check that they are of one person"
        )


def _about_coverage(brought: BroughtVisits, names: list[str]) -> Iterator[str]:
    """Warn of lesions that lie where the other scan shows nothing: they are in no class."""
    for name, level in zip(names, brought.levels, strict=True):
        lesion = level >= LESION_LEVEL
        total = np.count_nonzero(lesion)
        outside = np.count_nonzero(lesion & ~brought.covered)
        if outside:
            yield (
                f"{outside / total:.1%} of the lesions in {name} lie outside of the other scan:"
                " they are left out of the comparison"
            )
