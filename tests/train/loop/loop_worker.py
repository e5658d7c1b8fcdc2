"""The loop, watched from within, in as many processes as are launched.

Called by tests/train/test_loop.py, and run by it under `torch.distributed.run`.
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.toys import fit_data, small_recipe
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.loop import LoopListener, TrainingLoop
from wmh_train.loop.losses import Losses
from wmh_train.loop.resume import StateKeeper, TrainingState
from wmh_train.model.network import WmhNetwork

CLIP_NORM = 0.01  # far below what the toys' gradients have
RECIPE = small_recipe(
    optimizer={"learning_rate": 5e-3, "mixed_precision": "no", "clip_norm": CLIP_NORM},
    schedule=small_recipe().schedule.model_dump() | {"slices_at_once": 2},
)


@dataclass
class Watched:
    """What one process did, in order."""

    places: list = field(default_factory=list)  # read, a list for each forward pass
    images: list = field(default_factory=list)  # that entered the network
    means: list = field(default_factory=list)  # (C,), of what entered its first BatchNorm
    unclipped: list = field(default_factory=list)  # all gradients as one vector, for each step
    clipped: list = field(default_factory=list)  # the same, as the optimizer met them
    rates: list = field(default_factory=list)  # that the optimizer met
    statistics: dict = field(default_factory=dict)  # BatchNorm's, in the end


def open_slices(heads, cache):
    data = fit_data(heads, RECIPE)
    fill_cache(data.scans, RECIPE.preprocessing, cache, lambda: None)
    parts = (data.those(data.split.training), data.those(data.split.validation))
    return [open_cache(part, RECIPE.preprocessing, cache) for part in parts]


def first_batch_norm(network):
    return next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))


def scale_and_shift(image, mean, var, weight, bias, *_):
    """Return what BatchNorm does without the mean and variance of a batch."""
    return image * weight[:, None, None] + bias[:, None, None]


def mean_loss(self, logits, target):
    """A mean over slices: it does not tell parts of a batch from the whole."""
    total = sum(scale.square().mean() for scale in (logits.fused, *logits.scales))
    return Losses(total, *[total.detach()] * 4)


def watch(training, validation, *, plain=False):
    """Train by RECIPE and return what was seen; plain: without BatchNorm and by `mean_loss`."""
    seen = Watched()
    read, clip = CachedSlices.read, nn.utils.clip_grad_norm_

    def watched_read(self, places):
        if self is training:
            seen.places.append(list(map(int, places)))
        return read(self, places)

    def watched_clip(parameters, *arguments, **options):
        seen.unclipped.append(torch.cat([p.grad.flatten().clone() for p in parameters]))
        return clip(parameters, *arguments, **options)

    def watched_step(optimizer, *_):
        (group,) = optimizer.param_groups
        seen.rates.append(group["lr"])
        seen.clipped.append(torch.cat([p.grad.flatten().clone() for p in group["params"]]))

    def watched_network(module, arguments):
        if module.training:
            seen.images.append(arguments[0].clone())

    def watched_norm(module, arguments):
        if module.training:
            seen.means.append(arguments[0].mean(dim=(0, 2, 3)))

    torch.manual_seed(RECIPE.schedule.seed)
    network = WmhNetwork(RECIPE)
    network.register_forward_pre_hook(watched_network)
    first_batch_norm(network).register_forward_pre_hook(watched_norm)
    with ExitStack() as stack:
        stack.enter_context(patch.object(CachedSlices, "read", watched_read))
        stack.enter_context(patch("torch.nn.utils.clip_grad_norm_", watched_clip))
        stack.callback(register_optimizer_step_pre_hook(watched_step).remove)
        if plain:
            stack.enter_context(patch("torch.nn.functional.batch_norm", scale_and_shift))
            stack.enter_context(patch("wmh_train.loop.losses.SegmentationLoss.forward", mean_loss))
        loop = TrainingLoop(network, RECIPE, training, validation, open_accelerator(RECIPE))
        keeper = StateKeeper(training.folders[0].parent, every_s=1e9)
        with patch.object(keeper, "save"):
            loop.run(TrainingState("", 1), keeper, LoopListener())
    seen.statistics = {n: b.clone() for n, b in network.named_buffers() if "running" in n}
    return seen


def main(heads, cache, out):
    torch.set_num_threads(1)
    slices = open_slices(Path(heads), Path(cache))
    seen = {plain: vars(watch(*slices, plain=plain)) for plain in (False, True)}
    rank = open_accelerator(RECIPE).process_index
    torch.save(seen, Path(out) / f"{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
