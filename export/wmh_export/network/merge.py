"""Merge LoRA adapters and BatchNorm into the weights of the network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import peft
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wmh_runtime.errors import ExportError
from wmh_train.model.network import WmhNetwork


def merge(network: WmhNetwork) -> WmhNetwork:
    """Return a copy of the network without LoRA and BatchNorm, in float32.

    peft merges LoRA: W + (alpha / rank) · B A. A BatchNorm becomes a factor and a shift of the
    convolution before it.

    Args:
        network: not changed.

    Raises:
        ExportError: a merged weight is not finite.
    """
    merged = copy.deepcopy(network).float().eval()
    if isinstance(merged.encoder, peft.PeftModel):
        merged.encoder = merged.encoder.merge_and_unload()
    for module in merged.modules():
        if isinstance(module, nn.Sequential):
            _merge_batch_norms(module)
    for name, tensor in merged.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ExportError(f"{name} is not finite after merging", "Train again.")
    return merged.requires_grad_(False)


def _merge_batch_norms(layers: nn.Sequential) -> None:
    """Merge each BatchNorm of a sequence, and of sequences in it, into the convolution before."""
    for (before, name), (around, norm_name) in pairwise(list(_places(layers))):
        convolution, norm = getattr(before, name), getattr(around, norm_name)
        if isinstance(norm, nn.BatchNorm2d):
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            setattr(before, name, fuse_conv_bn_eval(convolution, norm, transpose=transposed))
            setattr(around, norm_name, nn.Identity())


def _places(layers: nn.Sequential) -> Iterator[tuple[nn.Sequential, str]]:
    """Yield where each layer of a sequence is: the innermost sequence, and its name there."""
    for name, layer in layers.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _places(layer)
        else:
            yield layers, name
