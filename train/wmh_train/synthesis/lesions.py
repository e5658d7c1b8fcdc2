"""Lesions of a synthetic head: shapes of real masks, the label map's own, or made ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
import torch
from torch import Tensor

from wmh_train.recipe.synthesis import LesionSettings
from wmh_train.synthesis.anatomy import Anatomy, sample
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.fields import smooth_field
from wmh_train.synthesis.source_images import read_source
from wmh_train.synthesis.tissues import Tissue

# The box of the cerebrum in the coordinates of the MNI template, mm: left, back and bottom, then
# right, front and top. Measured on the template's own brain, without cerebellum.
MNI_CEREBRUM_MM = ((-70.0, -105.0, -46.0), (70.0, 72.0, 81.0))

_ML = 1e-3  # per voxel of 1 mm³
_FARTHEST_MM = 22.0  # from the ventricles, of periventricular lesions
_REAL_SCALE = 0.06  # ±, of the shapes of real masks
_REAL_LEVELS = (0.3, 0.62)  # of a resampled real mask; a lower level makes lesions larger
_KEPT_SHARE = (0.1, 0.8)  # of the lesions of a real mask, in half of the heads
_OVOID_RADIUS_MM = (1.0, 4.5)
_POSTERIOR_SHARE = 0.15  # of heads have lesions in brain stem or cerebellum


@dataclass(frozen=True, eq=False)
class RealMask:
    """A mask of real lesions in the space of the MNI template.

    Attributes:
        lesions: float32 (X, Y, Z), 0 or 1.
        to_voxels: (4, 4), from positions in the box of the cerebrum (0 to 1) to voxels.
    """

    lesions: Tensor
    to_voxels: Tensor


def read_real_mask(path: Path) -> RealMask:
    """Read a lesion mask in the space of the MNI template.

    Raises:
        InputError: it cannot be read.
    """
    voxels, affine = read_source(path)
    low, high = np.array(MNI_CEREBRUM_MM)
    from_box = np.eye(4)
    from_box[:3, :3] = np.diag(high - low)
    from_box[:3, 3] = low
    to_voxels = np.linalg.inv(affine) @ from_box
    lesions = (voxels > 0).astype(np.float32)
    return RealMask(torch.from_numpy(lesions), torch.from_numpy(to_voxels.astype(np.float32)))


def draw_lesions(
    anatomy: Anatomy, masks: list[RealMask], settings: LesionSettings, draws: Draws
) -> Tensor:
    """Draw where the lesions are, bool (X, Y, Z). They lie in white matter, few behind it."""
    lesions = torch.zeros(anatomy.shape, dtype=torch.bool)
    if draws.chance(settings.without_share):
        return lesions
    kind = draws.rng.uniform()
    if masks and kind < settings.real_share:
        lesions |= _from_mask(anatomy, masks[int(draws.rng.integers(len(masks)))], draws)
    elif kind < settings.real_share + settings.own_share:
        lesions |= anatomy.own_lesions > draws.uniform((0.35, 0.6))
    if not lesions.any() or draws.chance(0.4):
        lesions |= _made(anatomy, draws.log_uniform(settings.load_ml), draws)
    allowed = anatomy.tissue == Tissue.WHITE
    deep = (Tissue.THALAMUS, Tissue.CAUDATE, Tissue.PUTAMEN)
    if draws.chance(0.3):
        allowed = allowed | anatomy.is_any(deep)
    lesions &= allowed
    if draws.chance(_POSTERIOR_SHARE):
        tissues = (Tissue.BRAIN_STEM, Tissue.CEREBELLAR_WHITE)
        lesions |= _ovoids(anatomy, anatomy.is_any(tissues), int(draws.rng.integers(1, 5)), draws)
    return lesions


def _from_mask(anatomy: Anatomy, mask: RealMask, draws: Draws) -> Tensor:
    """Bring a real mask into the head: box of the cerebrum on box, a little larger or smaller."""
    positions = anatomy.in_cerebrum - 0.5
    positions = positions * torch.from_numpy(
        draws.rng.uniform(1 - _REAL_SCALE, 1 + _REAL_SCALE, 3).astype(np.float32)
    )
    if draws.chance(0.5):
        positions[..., 0] *= -1
    voxels = (positions + 0.5) @ mask.to_voxels[:3, :3].T + mask.to_voxels[:3, 3]
    lesions = sample(mask.lesions, voxels) > draws.uniform(_REAL_LEVELS)
    if draws.chance(0.5):
        labels, count = cc3d.connected_components(lesions.numpy(), return_N=True)
        kept = draws.rng.uniform(size=count + 1) < draws.uniform(_KEPT_SHARE)
        kept[0] = False
        lesions = torch.from_numpy(kept[labels])
    return lesions


def _made(anatomy: Anatomy, load_ml: float, draws: Draws) -> Tensor:
    """Make lesions of a total volume: periventricular, deep, near the cortex, and small ovoids."""
    white = anatomy.tissue == Tissue.WHITE
    periventricular, deep, cortical = draws.rng.dirichlet((1.2, 1.0, 0.25))
    ovoids = draws.uniform((0.3, 1) if load_ml < 1 else (0, 0.35))
    made = _ovoids(anatomy, white, 1 + round(ovoids * draws.rng.uniform(1, 24)), draws)
    rest_ml = max(0.0, load_ml - float(made.sum()) * _ML)
    from_ventricles, from_surface = anatomy.from_ventricles_mm, anatomy.from_surface_mm
    bands = draws.uniform((2, 6)) * smooth_field(draws, anatomy.shape, draws.uniform((7, 16)))
    made |= _highest(
        bands - from_ventricles, white & (from_ventricles < _FARTHEST_MM), periventricular * rest_ml
    )
    spots = smooth_field(draws, anatomy.shape, draws.uniform((4, 10)))
    is_deep = white & (from_surface > 2) & (from_ventricles > 3)
    made |= _highest(spots - 0.02 * from_ventricles, is_deep, deep * rest_ml)
    made |= _highest(
        spots - 0.6 * from_surface, white & (from_surface < 5), min(4.0, cortical * rest_ml)
    )
    return made


def _highest(score: Tensor, where: Tensor, volume_ml: float) -> Tensor:
    """Return the voxels with the highest scores in a place, of a total volume."""
    scores = score[where]
    count = min(round(volume_ml / _ML), scores.numel())
    if count == 0:
        return torch.zeros_like(where)
    level = torch.kthvalue(scores, scores.numel() - count + 1).values
    return where & (score >= level)


def _ovoids(anatomy: Anatomy, where: Tensor, count: int, draws: Draws) -> Tensor:
    """Return ellipsoids at random voxels of a place."""
    result = torch.zeros_like(where)
    places = where.nonzero()
    if not len(places):
        return result
    for index in draws.rng.integers(len(places), size=count):
        center = places[index].numpy()
        radii = draws.log_uniform(_OVOID_RADIUS_MM) * draws.rng.uniform(0.7, 1.4, 3)
        low = np.maximum(np.floor(center - radii), 0).astype(int)
        high = np.minimum(np.ceil(center + radii) + 1, anatomy.shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offsets = np.ix_(*(np.arange(a, b) - c for a, b, c in zip(low, high, center, strict=True)))
        distance = sum((d / r) ** 2 for d, r in zip(offsets, radii, strict=True))
        result[box] |= torch.from_numpy(distance <= 1)
    return result & where
