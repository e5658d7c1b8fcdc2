"""Run the training loop and record its internal values, in one process or several.

Used by test_training_loop.py, which also runs it under `torch.distributed.run`.
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.training_toys import fit_data, small_recipe
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.losses import Losses
from wmh_train.loop.resume import ResumeFile, TrainingState
from wmh_train.loop.training_loop import LoopListener, TrainingLoop
from wmh_train.model.network import build_network

CLIP_NORM = 0.01  # far below the gradient norms of the small network
RECIPE = small_recipe(
    optimizer={"learning_rate": 5e-3, "mixed_precision": "no", "clip_norm": CLIP_NORM},
    schedule=small_recipe().schedule.model_dump() | {"micro_batch_size": 2},
)


@dataclass
class Recording:
    """Values of one process, in order."""

    indices: list = field(default_factory=list)  # indices of the slices, a list per forward pass
    images: list = field(default_factory=list)  # inputs of the network
    means: list = field(default_factory=list)  # (C,), of the inputs of the first BatchNorm
    unclipped: list = field(default_factory=list)  # all gradients as one vector, per step
    clipped: list = field(
        default_factory=list
    )  # the same after clipping, as the optimizer gets them
    rates: list = field(default_factory=list)  # learning rates of the optimizer
    statistics: dict = field(default_factory=dict)  # of BatchNorm, after the last step


def open_slices(heads, cache):
    data = fit_data(heads, RECIPE)
    fill_cache(data.scans, RECIPE.preprocessing, cache, lambda: None)
    return [
        open_cache(data.scans_named(names), RECIPE.preprocessing, cache)
        for names in (data.split.training, data.split.validation)
    ]


def first_batch_norm(network):
    return next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))


def scale_and_shift(image, mean, var, weight, bias, *_):
    """Replace BatchNorm, without mean and variance of the batch."""
    return image * weight[:, None, None] + bias[:, None, None]


def mean_loss(self, logits, target):
    """A mean over slices, so the mean over micro-batches equals that over the batch."""
    total = sum(scale.square().mean() for scale in (logits.fused, *logits.scales))
    return Losses(total, *[total.detach()] * 5)


def record(training, validation, *, recipe=RECIPE, simplified=False):
    """Train and record values. simplified: without BatchNorm, with `mean_loss`."""
    recording = Recording()
    read, clip = CachedSlices.read, nn.utils.clip_grad_norm_

    def recorded_read(self, indices):
        if self is training:
            recording.indices.append(list(map(int, indices)))
        return read(self, indices)

    def recorded_clip(parameters, *arguments, **options):
        recording.unclipped.append(torch.cat([p.grad.flatten().clone() for p in parameters]))
        return clip(parameters, *arguments, **options)

    def recorded_step(optimizer, *_):
        (group,) = optimizer.param_groups
        recording.rates.append(group["lr"])
        recording.clipped.append(torch.cat([p.grad.flatten().clone() for p in group["params"]]))

    def recorded_network(module, arguments):
        if module.training:
            recording.images.append(arguments[0].clone())

    def recorded_norm(module, arguments):
        if module.training:
            recording.means.append(arguments[0].mean(dim=(0, 2, 3)))

    torch.manual_seed(recipe.schedule.seed)
    network = build_network(recipe)
    network.register_forward_pre_hook(recorded_network)
    first_batch_norm(network).register_forward_pre_hook(recorded_norm)
    with ExitStack() as stack:
        stack.enter_context(patch.object(CachedSlices, "read", recorded_read))
        stack.enter_context(patch("torch.nn.utils.clip_grad_norm_", recorded_clip))
        stack.callback(register_optimizer_step_pre_hook(recorded_step).remove)
        if simplified:
            stack.enter_context(patch("torch.nn.functional.batch_norm", scale_and_shift))
            stack.enter_context(patch("wmh_train.loop.losses.SegmentationLoss.forward", mean_loss))
        loop = TrainingLoop(network, recipe, training, validation, open_accelerator(recipe))
        resume_file = ResumeFile(training.cached[0].targets.parent, every_s=1e9)
        with patch.object(resume_file, "save"):
            loop.run(TrainingState("", 1), resume_file, LoopListener())
    recording.statistics = {n: b.clone() for n, b in network.named_buffers() if "running" in n}
    return recording


def main(heads, cache, out):
    torch.set_num_threads(1)
    slices = open_slices(Path(heads), Path(cache))
    recordings = {
        simplified: vars(record(*slices, simplified=simplified)) for simplified in (False, True)
    }
    rank = open_accelerator(RECIPE).process_index
    torch.save(recordings, Path(out) / f"{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
