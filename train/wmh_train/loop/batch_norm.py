"""BatchNorm in training: when it uses the statistics of the batch, and equal ones in all processes.

A network that is trained on batches of very different scans sees other statistics in training than
at inference, where they are fixed. So a recipe can fix them early: what is trained from then on is
what is exported.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn


def fix_batch_norm(network: nn.Module) -> None:
    """Use the running statistics from now on, until `network.train()` is called."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


def fix_frozen_batch_norm(network: nn.Module) -> None:
    """Do the same for the layers that are not trained, so that they stay as they are."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad:
            layer.eval()


def average_batch_norm(network: nn.Module, accelerator: Accelerator) -> None:
    """Average the running statistics over the processes, so that all slices count.

    Call it after each step, because DDP copies the statistics of the main process to all others at
    the next step. So the saved state has the statistics of an uninterrupted training. With more
    processes there are fewer updates per step, so the running averages reach back further. The
    weights do not depend on the statistics while those of the batch are used.
    """
    if accelerator.num_processes == 1:
        return
    statistics = [
        buffer
        for name, buffer in network.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]
    means = accelerator.reduce(torch.cat(statistics), "mean")  # one reduction for all
    for buffer, mean in zip(statistics, means.split([len(b) for b in statistics]), strict=True):
        buffer.copy_(mean)
