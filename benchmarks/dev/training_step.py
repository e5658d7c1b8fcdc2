"""How fast a training step is and what memory it takes, beside the loop a person would write.

The plain loop has the same network, loss and optimizer, in float32, one batch after another;
every slice is augmented on its own by MONAI's random transforms. Each loop runs in a process of
its own, so that its peak of memory is its own.
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
from typing import Literal

import numpy as np
import torch
from monai import transforms as monai
from torch import Tensor

from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.errors import InputError
from wmh_runtime.schema import StrictModel
from wmh_train.cost import footprint_of
from wmh_train.data.cache import CachedSlices, open_cache
from wmh_train.data.layouts import find_data
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.loop import LoopListener, StepReport, TrainingLoop
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.loop.resume import StateKeeper, TrainingState
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe

Loop = Literal["ours", "plain"]
_WARM_UP_STEPS = 1


class LoopSpeed(StrictModel):
    """One loop on one recipe."""

    loop: Loop
    precision: str
    slices_per_second: float  # median over steps
    slowest_step_s: float
    fastest_step_s: float
    peak_memory_mb: float  # 10⁶ bytes: of the GPU, or else of the process's resident memory


class TrainingSpeed(StrictModel):
    """Both loops on one recipe."""

    recipe: str
    device: str
    slices_at_once: int
    steps: int
    estimated_memory_mb: float  # what `wmh-train describe` says of a step
    loops: list[LoopSpeed]

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        by_loop = {speed.loop: speed.slices_per_second for speed in self.loops}
        return by_loop["ours"] / by_loop["plain"]


def measure_training_speed(recipe: Recipe, data: Path, cache: Path, steps: int) -> TrainingSpeed:
    """Time optimizer steps of one recipe, with random weights: speed does not depend on them.

    A step here has `slices_at_once` slices: gradients are not accumulated, which would only
    repeat what is timed.

    Args:
        recipe: of the training.
        data: annotated scans, a few are enough.
        cache: folder for their prepared slices.
        steps: timed, after one that is not.
    """
    schedule = recipe.schedule.model_copy(update={"batch_size": recipe.schedule.slices_at_once})
    recipe = recipe.model_copy(update={"schedule": schedule})
    loops = []
    for loop in ("ours", "plain"):
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            loops.append(process.submit(_measure, loop, recipe, data, cache, steps).result())
    return TrainingSpeed(
        recipe=recipe.name,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        slices_at_once=recipe.schedule.slices_at_once,
        steps=steps,
        estimated_memory_mb=round(footprint_of(recipe).training_bytes / 1e6, 1),
        loops=loops,
    )


def _measure(loop: Loop, recipe: Recipe, data: Path, cache: Path, steps: int) -> LoopSpeed:
    scans = find_data(data, recipe.channels, recipe.outputs).scans
    slices = open_cache(scans, recipe.preprocessing, cache)
    torch.manual_seed(recipe.schedule.seed)
    run = _run_ours if loop == "ours" else _run_plain
    seconds = run(recipe, slices, steps + _WARM_UP_STEPS)[_WARM_UP_STEPS:]
    batch = recipe.schedule.batch_size
    return LoopSpeed(
        loop=loop,
        precision=recipe.optimizer.mixed_precision if loop == "ours" else "no",
        slices_per_second=round(batch / statistics.median(seconds), 4),
        slowest_step_s=round(max(seconds), 3),
        fastest_step_s=round(min(seconds), 3),
        peak_memory_mb=round(_peak_bytes() / 1e6, 1),
    )


class _Enough(Exception):  # noqa: N818
    """As many steps as wanted are done."""


class _Clock(LoopListener):
    """Notes when steps end, and stops the training after so many."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.ends_s = [time.perf_counter()]

    def step(self, report: StepReport) -> None:
        self.ends_s.append(time.perf_counter())
        if report.step == self._steps:
            raise _Enough


def _run_ours(recipe: Recipe, slices: CachedSlices, steps: int) -> list[float]:
    """Return the seconds of each step of the loop of `wmh-train fit`."""
    loop = TrainingLoop(WmhNetwork(recipe), recipe, slices, slices, open_accelerator(recipe))
    if steps >= loop.steps_per_epoch:  # the last step of an epoch is followed by validation
        raise InputError(
            f"these scans make {loop.steps_per_epoch} steps an epoch, {steps + 1} are needed",
            "Give more scans, or fewer --steps.",
        )
    clock = _Clock(steps)
    with suppress(_Enough), tempfile.TemporaryDirectory() as folder:
        loop.run(TrainingState("", 1), StateKeeper(Path(folder), every_s=math.inf), clock)
    return np.diff(clock.ends_s).tolist()


def _run_plain(recipe: Recipe, slices: CachedSlices, steps: int) -> list[float]:
    """Return the seconds of each step of the plain loop."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    schedule, settings = recipe.schedule, recipe.optimizer
    network, loss_of = WmhNetwork(recipe).to(device).train(), SegmentationLoss(recipe.loss)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    augment = _plain_augmentation(recipe)
    order = np.random.default_rng(schedule.seed).integers(
        len(slices.with_lesion), size=(steps, schedule.batch_size)
    )
    seconds = []
    for batch in order:
        started = time.perf_counter()
        optimizer.zero_grad()
        parts = batch.reshape(-1, schedule.slices_at_once)
        for places in parts:
            images, targets = slices.read(places)
            pairs = [
                augment({"image": image, "target": target})
                for image, target in zip(images, targets, strict=True)
            ]
            image = torch.stack([torch.as_tensor(pair["image"]) for pair in pairs]).to(device)
            target = torch.stack([torch.as_tensor(pair["target"]) for pair in pairs]).to(device)
            loss: Tensor = loss_of(network(image), target).total / len(parts)
            torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return seconds


def _plain_augmentation(recipe: Recipe) -> monai.Compose:
    """Compose MONAI's own transforms to what the recipe asks for."""
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
    """Return the peak on the GPU where there is one, else of resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()
