"""Regions without masks: what the network that a training starts from finds takes their place.

The scans that a model is fine-tuned on rarely have masks of the brain and its regions. Without any
target, the outputs of the regions change with the layers that they share with the lesions (Li and
Hoiem 2016, learning without forgetting).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from wmh_runtime.imageio.reference_masks import LESION
from wmh_train.model.network import WmhNetwork


class MissingRegions:
    """Fills in the targets of regions, where a scan has no mask of them.

    Args:
        start: the network with the weights that the training starts from; it is copied.
        lesion_outputs: number of outputs before those of the regions.
        device: of the training.
    """

    def __init__(self, start: WmhNetwork, lesion_outputs: int, device: torch.device) -> None:
        self._network = copy.deepcopy(start).eval().requires_grad_(False).to(device)
        self._lesion_outputs = lesion_outputs

    def fill_in(self, images: Tensor, targets: Tensor, missing: Tensor) -> Tensor:
        """Return the targets with each missing region as the starting network finds it.

        Args:
            images: float32 [N, C, S, S], before augmentation.
            targets: uint8 [N, K, S, S], with the K − R lesion outputs first.
            missing: bool [N, R].
        """
        rows = missing.any(dim=1)
        if not rows.any():
            return targets
        filled = targets.clone()
        regions = filled[:, self._lesion_outputs :]  # a view
        with torch.no_grad():
            found = self._network(images[rows]).fused[:, self._lesion_outputs :] > 0
        regions[rows] = torch.where(
            missing[rows, :, None, None], LESION * found.to(targets.dtype), regions[rows]
        )
        return filled
