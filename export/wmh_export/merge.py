"""LoRA folded into the weights it adapts: the same network without adapters."""

from __future__ import annotations

import copy

import peft
import torch

from wmh_runtime.errors import ExportError
from wmh_train.model.network import WmhNetwork


def merge_lora(network: WmhNetwork) -> WmhNetwork:
    """Return a new network with every adapter merged, W + (alpha / rank) · B A, in float32.

    Args:
        network: left as it is; one without adapters is copied.

    Raises:
        ExportError: a merged weight is not finite.
    """
    merged = copy.deepcopy(network).float().eval()
    if isinstance(merged.encoder, peft.PeftModel):
        merged.encoder = merged.encoder.merge_and_unload()
    for name, tensor in merged.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ExportError(f"{name} is not finite after merging", "Train again.")
    return merged.requires_grad_(False)
