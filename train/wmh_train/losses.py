"""What training minimises: focal + soft Dice, on the fused output and on every scale."""

from __future__ import annotations

import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn

from wmh_train.decoder import Logits
from wmh_train.recipe import LossSettings

_DICE_SMOOTH = 1.0


class SegmentationLoss(nn.Module):
    """Focal loss and soft Dice of the fused logits, plus the same of each scale, weighted.

    Focal (Lin et al. 2017): mean of −α (1 − p)^γ log p over pixels, p the probability given to
    the true class, 1 − α in place of α for background. Soft Dice over the whole batch:
    1 − (2 Σ p t + 1) / (Σ p + Σ t + 1), so that slices without lesion do no harm.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.focal = FocalLoss(gamma=settings.focal_gamma, alpha=settings.focal_alpha)
        self.dice = DiceLoss(
            sigmoid=True, batch=True, smooth_nr=_DICE_SMOOTH, smooth_dr=_DICE_SMOOTH
        )
        self.scale_weights = settings.scale_weights

    def forward(self, logits: Logits, target: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits against a target [N, K, S, S] of 0 and 1."""
        loss = self._one(logits.fused, target)
        for weight, scale in zip(self.scale_weights, logits.scales, strict=True):
            coarse_target = F.adaptive_max_pool2d(target, scale.shape[-2:])
            loss = loss + weight * self._one(scale, coarse_target)
        return loss

    def _one(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.float()
        loss: Tensor = self.focal(logits, target) + self.dice(logits, target)
        return loss
