"""The training loss: focal, soft Dice and boundary loss, with auxiliary losses on each scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn

from wmh_runtime.imageio.reference_masks import OTHER_PATHOLOGY
from wmh_train.model.decoder import Logits
from wmh_train.recipe.recipe import LossSettings

_DICE_SMOOTH = 1.0
_EDGE_WEIGHT = 3.0
_EDGE_SIDE_PX = 5


class Losses(NamedTuple):
    """The total loss and its parts, float32 scalars. Only the total has gradients."""

    total: Tensor  # focal_weight · focal + dice + boundary_weight · boundary + scales + regions
    focal: Tensor
    dice: Tensor
    boundary: Tensor  # 0 if its weight is 0
    scales: Tensor  # Σ weight · (focal_weight · focal + dice) over the scales
    regions: Tensor  # region_weight · (focal_weight · focal + dice) of the regions


@dataclass(frozen=True)
class _Target:
    """Shares of lesion (or region) and background, [N, K, s, s] from 0 to 1; both 0 if ignored."""

    lesion: Tensor
    background: Tensor
    is_probability: bool  # of a teacher; otherwise all shares are 0 or 1

    @classmethod
    def of(cls, target: Tensor) -> _Target:
        """Make them from labels, or from probabilities and the label of ignored pixels."""
        ignored = target == OTHER_PATHOLOGY
        lesion = target.float().masked_fill(ignored, 0)
        background = (1 - lesion).masked_fill(ignored, 0)
        return cls(lesion, background, target.is_floating_point())

    @property
    def valid(self) -> Tensor:
        """Mask of the pixels that are not ignored."""
        return self.lesion + self.background

    def downsample(self, size: tuple[int, int]) -> _Target:
        """Return the target on a coarser grid.

        A coarse pixel is lesion if any of its pixels is. Otherwise it is background if all of its
        pixels are, and ignored if any is ignored, because then a lesion cannot be ruled out. Of
        probabilities, it has the highest, and the share that is neither lesion nor background is
        ignored.
        """
        lesion = F.adaptive_max_pool2d(self.lesion, size)
        not_background = F.adaptive_max_pool2d(1 - self.background, size)
        return _Target(lesion, 1 - not_background, self.is_probability)


class SegmentationLoss(nn.Module):
    """Computes the training loss from logits. Ignored pixels do not contribute to any sum or mean.

    Focal (Lin et al. 2017): mean of −α (1 − p)^γ log p over valid pixels, with p the probability
    of the true class. For background, 1 − α replaces α. A target between 0 and 1 needs γ = 0 and
    α = 0.5: then it is half of the cross-entropy, whose minimum is at p = t.

    Soft Dice: 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1), mean over outputs. The sums are over the whole
    batch, so that slices without a lesion have no extreme values. If the target is probabilities,
    squares of p and t are in the lower sums: then the minimum is at p = t, and not at 0 or 1.

    Boundary: mean of w · cross-entropy over valid pixels, with w = 3 at the edges of lesions and 1
    elsewhere. It is not divided by the sum of w, so slices with more edge pixels weigh more.
    """

    def __init__(self, settings: LossSettings, lesion_outputs: int) -> None:
        super().__init__()
        self.lesion_outputs = lesion_outputs
        self.focal = FocalLoss(
            gamma=settings.focal_gamma, alpha=settings.focal_alpha, reduction="none"
        )
        self.dice, self.dice_of_probabilities = (
            DiceLoss(
                batch=True,
                smooth_nr=_DICE_SMOOTH,
                smooth_dr=_DICE_SMOOTH,
                squared_pred=is_squared,
            )
            for is_squared in (False, True)
        )
        self.focal_weight = settings.focal_weight
        self.boundary_weight = settings.boundary_weight
        self.region_weight = settings.region_weight
        self.scale_weights = settings.scale_weights

    def forward(self, logits: Logits, target: Tensor) -> Losses:
        """Compute the loss in float32, for logits of any precision.

        Args:
            logits: logits of the network. If one of them is not finite, the total is not finite.
            target: [N, K, S, S], 2 where ignored, the outputs for lesions first, then regions:
                whole numbers of 0 (background) and 1 (lesion), or floats, probabilities of lesion.
        """
        count = self.lesion_outputs
        zero = logits.fused.new_zeros((), dtype=torch.float32)
        lesions = self._of_lesions(logits, target[:, :count]) if count else Losses(*[zero] * 6)
        if target.shape[1] == count:
            return lesions
        of_regions = _Target.of(target[:, count:])
        regions = self.region_weight * self._sum(logits.fused[:, count:].float(), of_regions)
        return lesions._replace(total=lesions.total + regions, regions=regions.detach())

    def _of_lesions(self, logits: Logits, target: Tensor) -> Losses:
        count = self.lesion_outputs
        masks, fused = _Target.of(target), logits.fused[:, :count].float()
        focal, dice = self._focal_and_dice(fused, masks)
        boundary = scales = fused.new_zeros(())
        if self.boundary_weight:
            boundary = _boundary(fused, masks)
        for weight, scale in zip(self.scale_weights, logits.scales, strict=True):
            height, width = scale.shape[-2:]
            coarse = masks.downsample((height, width))
            scales = scales + weight * self._sum(scale[:, :count].float(), coarse)
        total = self.focal_weight * focal + dice + self.boundary_weight * boundary + scales
        regions = fused.new_zeros(())
        return Losses(total, *(part.detach() for part in (focal, dice, boundary, scales, regions)))

    def _sum(self, logits: Tensor, target: _Target) -> Tensor:
        focal, dice = self._focal_and_dice(logits, target)
        return self.focal_weight * focal + dice

    def _focal_and_dice(self, logits: Tensor, target: _Target) -> tuple[Tensor, Tensor]:
        focal = _masked_mean(self.focal(logits, target.lesion), target.valid)
        dice_of = self.dice_of_probabilities if target.is_probability else self.dice
        dice: Tensor = dice_of(logits.sigmoid() * target.valid, target.lesion)
        return focal, dice


def _boundary(logits: Tensor, target: _Target) -> Tensor:
    weight = 1 + (_EDGE_WEIGHT - 1) * _edges(target)
    losses = F.binary_cross_entropy_with_logits(logits, target.lesion, weight, reduction="none")
    return _masked_mean(losses, target.valid)


def _edges(target: _Target) -> Tensor:
    """Mark pixels that have both lesion and background among the 5 × 5 pixels around them.

    This is the morphological gradient of the lesions, dilation minus erosion. Ignored pixels and
    pixels outside the slice count as neither, so they make no edge.
    """
    lesion, background = (
        F.max_pool2d(mask, _EDGE_SIDE_PX, stride=1, padding=_EDGE_SIDE_PX // 2)
        for mask in (target.lesion, target.background)
    )
    return lesion * background


def _masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over valid pixels, or 0. NaN in any pixel, also ignored, gives NaN."""
    return (values * valid).sum() / valid.sum().clamp(min=1)
