"""Measure speed and memory of a training step, and compare with a plain training loop.

The plain loop has the same network, loss and optimizer, in float32, one batch after another.
MONAI's random transforms augment each slice on its own. Each loop runs in a new process, so that
its peak memory can be measured.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from monai import transforms as monai
from torch import Tensor

from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.errors import InputError
from wmh_runtime.schema import StrictModel
from wmh_train.cost import estimate_footprint
from wmh_train.data.cache import CachedSlices, open_cache
from wmh_train.data.layouts import find_dataset
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.loop.resume import ResumeFile, TrainingState
from wmh_train.loop.training_loop import LoopListener, StepReport, TrainingLoop
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import Recipe

Loop = Literal["wmh-train", "plain"]
_WARM_UP_STEPS = 1


class LoopSpeed(StrictModel):
    """The measurement of one loop."""

    loop: Loop
    precision: str
    slices_per_second: float  # median over the steps
    slowest_step_s: float
    fastest_step_s: float
    peak_memory_mb: float  # 10⁶ bytes, of the GPU; on a CPU resident memory of the process


class TrainingSpeed(StrictModel):
    """The measurement of both loops with one recipe."""

    recipe: str
    device: str
    micro_batch_size: int
    steps: int
    estimated_memory_mb: float  # estimate of `wmh-train describe` for a step
    loops: list[LoopSpeed]

    @property
    def speedup(self) -> float:
        """Speed of `wmh-train` divided by the speed of the plain loop."""
        by_loop = {speed.loop: speed.slices_per_second for speed in self.loops}
        return by_loop["wmh-train"] / by_loop["plain"]


def measure_training_speed(recipe: Recipe, data: Path, cache: Path, steps: int) -> TrainingSpeed:
    """Time optimizer steps of one recipe. The weights are random, which does not change the speed.

    A step here is a single micro-batch: gradients are not accumulated, because that would only
    repeat the same work.

    Args:
        recipe: of the training.
        data: annotated scans; a few are enough.
        cache: folder for the preprocessed slices.
        steps: number of timed steps, after one warm-up step.
    """
    schedule = recipe.schedule.model_copy(update={"batch_size": recipe.schedule.micro_batch_size})
    recipe = recipe.model_copy(update={"schedule": schedule})
    spawn = multiprocessing.get_context("spawn")
    loops = []
    for loop in get_args(Loop):
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            loops.append(pool.submit(_measure, loop, recipe, data, cache, steps).result())
    return TrainingSpeed(
        recipe=recipe.name,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        micro_batch_size=recipe.schedule.micro_batch_size,
        steps=steps,
        estimated_memory_mb=round(estimate_footprint(recipe).training_bytes / 1e6, 1),
        loops=loops,
    )


def _measure(loop: Loop, recipe: Recipe, data: Path, cache: Path, steps: int) -> LoopSpeed:
    scans = find_dataset(data, recipe.channels, recipe.outputs).scans
    slices = open_cache(scans, recipe.preprocessing, cache)
    torch.manual_seed(recipe.schedule.seed)
    is_plain = loop == "plain"
    time_steps = _time_plain_loop if is_plain else _time_training_loop
    seconds = time_steps(recipe, slices, steps + _WARM_UP_STEPS)[_WARM_UP_STEPS:]
    return LoopSpeed(
        loop=loop,
        precision="no" if is_plain else recipe.optimizer.mixed_precision,
        slices_per_second=round(recipe.schedule.batch_size / statistics.median(seconds), 4),
        slowest_step_s=round(max(seconds), 3),
        fastest_step_s=round(min(seconds), 3),
        peak_memory_mb=round(_peak_bytes() / 1e6, 1),
    )


class _EnoughSteps(Exception):  # noqa: N818
    """Stops the training loop."""


class _StepTimer(LoopListener):
    """Records the end of each step, and stops the training after the given number of steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.ends_s = [time.perf_counter()]

    def step(self, report: StepReport) -> None:
        self.ends_s.append(time.perf_counter())
        if report.step == self._steps:
            raise _EnoughSteps


def _time_training_loop(recipe: Recipe, slices: CachedSlices, steps: int) -> list[float]:
    """Return the seconds of each step of the loop of `wmh-train fit`."""
    loop = TrainingLoop(build_network(recipe), recipe, slices, slices, open_accelerator(recipe))
    if steps >= loop.steps_per_epoch:  # the last step of an epoch is followed by validation
        raise InputError(
            f"an epoch of these scans has {loop.steps_per_epoch} steps, {steps + 1} are needed",
            "Give more scans, or time fewer steps.",
        )
    timer = _StepTimer(steps)
    with suppress(_EnoughSteps), tempfile.TemporaryDirectory() as folder:
        loop.run(TrainingState("", 1), ResumeFile(Path(folder), every_s=math.inf), timer)
    return np.diff(timer.ends_s).tolist()


def _time_plain_loop(recipe: Recipe, slices: CachedSlices, steps: int) -> list[float]:
    """Return the seconds of each step of the plain loop."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    schedule, settings = recipe.schedule, recipe.optimizer
    network, loss_of = (
        build_network(recipe).to(device).train(),
        SegmentationLoss(recipe.loss, len(recipe.outputs)),
    )
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    augment = _plain_augmentation(recipe)
    order = np.random.default_rng(schedule.seed).integers(
        len(slices.with_target), size=(steps, schedule.batch_size)
    )
    seconds = []
    for batch in order:
        started_s = time.perf_counter()
        optimizer.zero_grad()
        micro_batches = batch.reshape(-1, schedule.micro_batch_size)
        for indices in micro_batches:
            images, targets = slices.read(indices)
            pairs = [
                augment({"image": image, "target": target})
                for image, target in zip(images, targets, strict=True)
            ]
            image = torch.stack([torch.as_tensor(pair["image"]) for pair in pairs]).to(device)
            target = torch.stack([torch.as_tensor(pair["target"]) for pair in pairs]).to(device)
            loss: Tensor = loss_of(network(image), target).total / len(micro_batches)
            torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - started_s)
    return seconds


def _plain_augmentation(recipe: Recipe) -> monai.Compose:
    """Return MONAI transforms with the settings of the recipe."""
    settings = recipe.augmentation
    both = ["image", "target"]
    shift_px = settings.shift * recipe.preprocessing.size_px
    return monai.Compose(
        [
            monai.RandFlipd(both, prob=0.5, spatial_axis=0),
            monai.RandRotate90d(both, prob=0.75),
            monai.RandAffined(
                both,
                prob=1.0,
                rotate_range=np.radians(settings.rotation_degrees),
                scale_range=(settings.scale, settings.scale),
                translate_range=(shift_px, shift_px),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            monai.RandAdjustContrastd("image", prob=1.0, gamma=settings.gamma),
            monai.RandScaleIntensityd("image", prob=1.0, factors=0.25),
            monai.RandShiftIntensityd("image", prob=1.0, offsets=settings.brightness),
            monai.RandGaussianNoised("image", prob=1.0, std=settings.noise[1]),
        ]
    )


def _peak_bytes() -> int:
    """Return the peak memory of the GPU, or on a CPU of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()
