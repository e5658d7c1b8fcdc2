"""One synthetic head: FLAIR and T1 of the same anatomy, lesion mask, regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wmh_train.recipe.synthesis import SynthesisSettings
from wmh_train.synthesis.acquisition import acquire, draw_voxels
from wmh_train.synthesis.anatomy import LabelMap, draw_anatomy
from wmh_train.synthesis.appearance import paint_flair, paint_t1
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.lesions import RealMask, draw_lesions
from wmh_train.synthesis.tissues import REGIONS

_Value = TypeVar("_Value", bound=np.generic)

_MIN_SHARE = 0.5  # a voxel belongs to a mask if at least this share of it does


@dataclass(frozen=True, eq=False)
class SyntheticHead:
    """A synthetic head; all volumes are (X, Y, Z) on the same grid.

    Attributes:
        flair: int16.
        t1: int16.
        masks: uint8, 0 or 1, by output: `wmh` and the names in `REGIONS`.
        affine: (4, 4), voxel index to RAS+ mm.
    """

    flair: NDArray[np.int16]
    t1: NDArray[np.int16]
    masks: Mapping[str, NDArray[np.uint8]]
    affine: NDArray[np.float64]

    @property
    def load_ml(self) -> float:
        """Volume of the lesions."""
        return float(self.masks["wmh"].sum() * abs(np.linalg.det(self.affine)) / 1000)


def synthesise_head(
    maps: Sequence[LabelMap],
    masks: Sequence[RealMask],
    settings: SynthesisSettings,
    *,
    seed: int,
    number: int,
) -> SyntheticHead:
    """Make a head. The same arguments give the same head.

    Args:
        maps: of which one is drawn.
        masks: of real lesions; may be empty.
        settings: ranges.
        seed: of the data set.
        number: of the head in the data set.
    """
    draws = Draws(seed, number)
    anatomy = draw_anatomy(maps[int(draws.rng.integers(len(maps)))], settings.anatomy, draws)
    lesions = draw_lesions(anatomy, list(masks), settings.lesions, draws)
    flair = paint_flair(anatomy, lesions, settings.signals, settings.lesions, draws)
    t1 = paint_t1(anatomy, lesions, draws)
    acquisition = settings.acquisition
    voxels = draw_voxels(anatomy.shape, acquisition, draws)
    is_brain_only = draws.chance(acquisition.brain_only_share)
    margin_mm = draws.uniform(acquisition.brain_margin_mm) if is_brain_only else None
    flair_values, t1_values = (
        acquire(signal, anatomy, voxels, margin_mm, acquisition, draws) for signal in (flair, t1)
    )
    regions = {"wmh": lesions} | {
        name: anatomy.is_any(tissues) for name, tissues in REGIONS.items()
    }
    affine = np.diag([*voxels.spacing_mm, 1.0]) * (-1, -1, 1, 1)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(flair_values.shape) - 1) / 2
    return SyntheticHead(
        flair=_stored(flair_values),
        t1=_stored(t1_values),
        masks={
            name: _stored((voxels.resample(mask) >= _MIN_SHARE).numpy().astype(np.uint8))
            for name, mask in regions.items()
        },
        affine=affine,
    )


def _stored(volume: NDArray[_Value]) -> NDArray[_Value]:
    """Return a volume with axes to the left, back and top, as scanners store it."""
    return np.ascontiguousarray(volume[::-1, ::-1])
