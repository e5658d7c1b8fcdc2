"""What training minimises: focal + soft Dice + boundary on the fused output, more on each scale."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn

from wmh_runtime.evaluation.reference_masks import LESION, OTHER_PATHOLOGY
from wmh_train.model.decoder import Logits
from wmh_train.recipe.recipe import LossSettings

_DICE_SMOOTH = 1.0
_EDGE_WEIGHT = 3.0
_EDGE_SIDE_PX = 5


class Losses(NamedTuple):
    """The loss and what it is made of, scalars in float32; only the total carries gradients."""

    total: Tensor  # focal + dice + boundary_weight · boundary + scales
    focal: Tensor
    dice: Tensor
    boundary: Tensor  # 0 where its weight is 0
    scales: Tensor  # Σ weight · (focal + dice) over the scales


class _Truth(NamedTuple):
    """What the pixels show, each float32 [N, K, s, s] of 0 and 1; an ignored pixel is neither."""

    lesion: Tensor
    background: Tensor

    @property
    def counted(self) -> Tensor:
        return self.lesion + self.background

    def at(self, size: tuple[int, int]) -> _Truth:
        """Return what coarse pixels show: lesion where any of their pixels is.

        The others are background only if all of their pixels are: beside an ignored pixel, "no
        lesion in here" is not known.
        """
        lesion = F.adaptive_max_pool2d(self.lesion, size)
        not_background = F.adaptive_max_pool2d(1 - self.background, size)
        return _Truth(lesion, 1 - not_background)


class SegmentationLoss(nn.Module):
    """The loss of a network's logits; pixels that are ignored take no part in any sum or mean.

    Focal (Lin et al. 2017): mean of −α (1 − p)^γ log p over counted pixels, p the probability
    given to the true class, 1 − α in place of α for background.

    Soft Dice, over the whole batch so that slices without lesion do no harm, mean over outputs:
    1 − (2 Σ p t + 1) / (Σ p + Σ t + 1).

    Boundary: mean over counted pixels of w · cross-entropy, w = 3 on the edges of lesions and 1
    elsewhere. It is not divided by the sum of w, so slices with more edge weigh more.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.focal = FocalLoss(
            gamma=settings.focal_gamma, alpha=settings.focal_alpha, reduction="none"
        )
        self.dice = DiceLoss(batch=True, smooth_nr=_DICE_SMOOTH, smooth_dr=_DICE_SMOOTH)
        self.boundary_weight = settings.boundary_weight
        self.scale_weights = settings.scale_weights

    def forward(self, logits: Logits, target: Tensor) -> Losses:
        """Return the loss of logits, computed in float32 whatever their precision.

        Args:
            logits: of the network; one that is not finite makes the total not finite.
            target: [N, K, S, S] of 0 (background), 1 (lesion) and 2 (ignored), of any dtype.
        """
        truth = _Truth(
            lesion=(target == LESION).float(),
            background=((target != LESION) & (target != OTHER_PATHOLOGY)).float(),
        )
        fused = logits.fused.float()
        focal, dice = self._focal_and_dice(fused, truth)
        boundary = scales = fused.new_zeros(())
        if self.boundary_weight:
            boundary = _boundary(fused, truth)
        for weight, scale in zip(self.scale_weights, logits.scales, strict=True):
            height, width = scale.shape[-2:]
            scales = scales + weight * sum(
                self._focal_and_dice(scale.float(), truth.at((height, width)))
            )
        total = focal + dice + self.boundary_weight * boundary + scales
        return Losses(total, focal.detach(), dice.detach(), boundary.detach(), scales.detach())

    def _focal_and_dice(self, logits: Tensor, truth: _Truth) -> tuple[Tensor, Tensor]:
        focal = _mean(self.focal(logits, truth.lesion), truth.counted)
        dice: Tensor = self.dice(logits.sigmoid() * truth.counted, truth.lesion)
        return focal, dice


def _boundary(logits: Tensor, truth: _Truth) -> Tensor:
    weight = 1 + (_EDGE_WEIGHT - 1) * _edges(truth)
    each = F.binary_cross_entropy_with_logits(logits, truth.lesion, weight, reduction="none")
    return _mean(each, truth.counted)


def _edges(truth: _Truth) -> Tensor:
    """Mark the pixels that have both lesion and background in the 5 × 5 pixels around them.

    This is the morphological gradient, dilation minus erosion, of the lesions. What is ignored or
    outside the slice is neither, so no edge arises where a lesion is merely cut off.
    """
    lesion, background = (
        F.max_pool2d(mask, _EDGE_SIDE_PX, stride=1, padding=_EDGE_SIDE_PX // 2) for mask in truth
    )
    return lesion * background


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over counted pixels, 0 if there is none; NaN anywhere makes it NaN."""
    return (values * counted).sum() / counted.sum().clamp(min=1)
