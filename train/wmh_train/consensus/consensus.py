"""The consensus of several masks of one scan: STAPLE, majority or union.

STAPLE (Warfield, Zou and Wells 2004, doi 10.1109/TMI.2004.828354) estimates, at the same time, the
probability that each voxel is lesion, and the sensitivity and specificity of each rater: a rater
that agrees with the others counts more. It is computed by SimpleITK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.preprocessing.itk import import_itk
from wmh_runtime.types import Floats, Mask
from wmh_train.consensus.method import Method
from wmh_train.consensus.notes import Note

_MARGIN = 3  # voxels around all masks; STAPLE's prior would vanish in a whole image
_ITERATIONS = 50  # on masks of three methods, rates move by less than 0.001 afterwards
_NEEDED_FOR = ("staple", "Or use the method majority.")
_FEW_SHARED = 0.1  # mean Dice between raters; below it, they disagree
_CHANCE = 1.0  # sensitivity + specificity of a rater that guesses


@dataclass(frozen=True)
class RaterScore:
    """How well a rater agrees with the consensus; NaN where a rate is undefined."""

    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class Consensus:
    """The consensus of the masks of one scan."""

    probability: Floats  # (x, y, z), in [0, 1]
    mask: Mask  # (x, y, z)
    raters: tuple[RaterScore, ...]  # in the order of the masks
    notes: tuple[Note, ...]  # what to be careful with


def find_consensus(masks: Sequence[Mask], method: Method) -> Consensus:
    """Find the consensus of at least one mask.

    With STAPLE, a voxel is lesion from a probability of 0.5. With majority, the probability is the
    share of the raters, and a voxel is lesion if more than half of them say so; with union, if any
    does. The scores of raters are STAPLE's own estimates; with the other methods, they are counted
    against the consensus. Both are those within the box around all masks, with a margin.

    Args:
        masks: (x, y, z) each, of one shape.
        method: see above. Masks that are all equal are their own consensus.

    Raises:
        InputError: SimpleITK is needed and not installed.
    """
    stack = np.stack(masks)
    share = stack.mean(axis=0, dtype=np.float32)
    notes = list(_disagreement(masks))
    if len(masks) == 1:
        notes.append(Note("one mask only: it is taken as it is"))
    box = _box_around(stack)
    if method == Method.STAPLE and (stack != stack[0]).any():
        probability, raters = _staple(stack, box)
        mask = probability >= 0.5
        if any(one.sensitivity + one.specificity < _CHANCE for one in raters):
            notes.append(Note("STAPLE rates a rater worse than chance; it may be wrong"))
    else:
        probability, mask = share, share > (0 if method == Method.UNION else 0.5)
        raters = tuple(_score(one[box], mask[box]) for one in masks)
    if stack.any() and not mask.any():
        problem = "no voxel is lesion by consensus, although there are masks with lesions"
        notes.append(Note(problem))
    return Consensus(probability, mask, raters, tuple(notes))


def _disagreement(masks: Sequence[Mask]) -> list[Note]:
    pairs = [dice_of_masks(one, other) for one, other in combinations(masks, 2)]
    mean = float(np.mean(pairs)) if pairs else 1.0
    if mean >= _FEW_SHARED:
        return []
    return [Note("the masks hardly share a voxel", f"mean Dice between them {mean:.2f}")]


def _box_around(stack: Any) -> tuple[slice, ...]:
    """Return the box around masks, (raters, x, y, z), with a margin; all if they are empty."""
    around = np.nonzero(stack.any(axis=0))
    if not len(around[0]):
        return (slice(None),) * (stack.ndim - 1)
    return tuple(
        slice(max(0, int(at.min()) - _MARGIN), int(at.max()) + 1 + _MARGIN) for at in around
    )


def _staple(stack: Any, box: tuple[slice, ...]) -> tuple[Floats, tuple[RaterScore, ...]]:
    """Run STAPLE on masks, (raters, x, y, z), that are not all equal, within a box around them."""
    itk = import_itk(*_NEEDED_FOR)
    probability = np.zeros(stack.shape[1:], np.float32)
    staple = itk.STAPLEImageFilter()
    staple.SetForegroundValue(1)
    staple.SetMaximumIterations(_ITERATIONS)
    images = [itk.GetImageFromArray(one[box].astype(np.uint8)) for one in stack]
    probability[box] = itk.GetArrayFromImage(staple.Execute(images))
    rates = zip(staple.GetSensitivity(), staple.GetSpecificity(), strict=True)
    return probability, tuple(RaterScore(*one) for one in rates)


def _score(mask: Mask, consensus: Mask) -> RaterScore:
    """Count how much of the consensus, and of what is outside it, a rater has right."""
    lesion, outside = np.count_nonzero(consensus), np.count_nonzero(~consensus)
    found = np.count_nonzero(mask & consensus)
    left_out = np.count_nonzero(~mask & ~consensus)
    return RaterScore(
        sensitivity=found / lesion if lesion else np.nan,
        specificity=left_out / outside if outside else np.nan,
    )


def require_staple() -> None:
    """Refuse STAPLE without SimpleITK; InputError."""
    import_itk(*_NEEDED_FOR)
