"""Training: a recipe and annotated scans become a checkpoint."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.errors import RecipeError
from wmh_train.augment import augment
from wmh_train.checkpoint import (
    CheckpointFacts,
    Provenance,
    require_no_checkpoint,
    save_checkpoint,
)
from wmh_train.datasets import (
    Slices,
    describe,
    draw_epoch,
    find_subjects,
    prepare_slices,
    split_subjects,
)
from wmh_train.losses import SegmentationLoss
from wmh_train.network import WmhNetwork, parameter_counts
from wmh_train.recipe import Recipe, ScheduleSettings

_LOWEST_SHARE = 1e-3  # of the learning rate, at the end of each cosine


@dataclass(frozen=True)
class EpochReport:
    """How training goes, after each epoch."""

    epoch: int
    epochs: int
    training_loss: float
    validation_dice: float  # of the pooled slices, one view, threshold 0.5
    seconds: float


class FitProgress:
    """What a caller hears of a running training. The default says nothing."""

    def preparing(self, done: int, total: int) -> None:
        """`done` of `total` scans are prepared."""

    def training(self, step: int, steps: int, loss: float) -> None:
        """`step` of `steps` batches of the whole training are done."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""


def fit(recipe: Recipe, data: Path, out: Path, progress: FitProgress) -> CheckpointFacts:
    """Train a network and write its checkpoint to `out`.

    Args:
        recipe: decides everything.
        data: folder of annotated scans.
        out: checkpoint folder, made if needed; must not hold a checkpoint.
        progress: is told what happens.

    Raises:
        RecipeError: the data do not fit the recipe, `out` holds a checkpoint, or the loss is no
            longer finite.
        InputError: a scan cannot be read, or `out` not be written to.
    """
    started = time.monotonic()
    require_no_checkpoint(out)
    subjects = find_subjects(data, recipe.channels, recipe.outputs)
    schedule = recipe.schedule
    training, validation = split_subjects(subjects, recipe.data.validation_share, schedule.seed)
    prepared = _counting(progress.preparing, len(subjects))
    train_slices = prepare_slices(training, recipe, prepared)
    validation_slices = prepare_slices(validation, recipe, prepared)

    torch.manual_seed(schedule.seed)
    network = WmhNetwork(recipe)
    with_lesion = train_slices.with_lesion
    orders = [
        draw_epoch(with_lesion, recipe.data.empty_slices, seed=schedule.seed, epoch=epoch)
        for epoch in range(schedule.epochs)
    ]
    reports = _optimise(network, recipe, train_slices, orders, validation_slices, progress)

    trained, total = parameter_counts(network)
    facts = CheckpointFacts(
        recipe=recipe,
        training_scans=sorted(subject.name for subject in training),
        validation_scans=sorted(subject.name for subject in validation),
        provenance=Provenance(
            data=describe(data),
            parameters=total,
            trained_parameters=trained,
            training_slices=len(np.unique(np.concatenate(orders))),
            details={
                "training_loss": round(reports[-1].training_loss, 4),
                "validation_slice_dice": round(reports[-1].validation_dice, 4),
                "minutes": round((time.monotonic() - started) / 60, 1),
                "processor": platform.machine(),
                "torch": torch.__version__,
                "wmh-lora": version("wmh-lora"),
            },
        ),
    )
    save_checkpoint(out, network, facts)
    return facts


def learning_rate_share(step: int, steps_per_epoch: int, schedule: ScheduleSettings) -> float:
    """Return which share of the learning rate holds at a step.

    It grows linearly over the warm-up; then each cosine of `restart_epochs` falls from 1 to
    0.001: η = η_min + (1 − η_min) (1 + cos(π t / T)) / 2 (Loshchilov and Hutter 2017).
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    period = schedule.restart_epochs * steps_per_epoch
    t = (step - warmup) % period
    return _LOWEST_SHARE + (1 - _LOWEST_SHARE) * (1 + math.cos(math.pi * t / period)) / 2


def _optimise(
    network: WmhNetwork,
    recipe: Recipe,
    training: Slices,
    orders: list[NDArray[np.int_]],
    validation: Slices,
    progress: FitProgress,
) -> list[EpochReport]:
    schedule, settings = recipe.schedule, recipe.optimiser
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps_per_epoch = math.ceil(len(orders[0]) / schedule.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: learning_rate_share(step, steps_per_epoch, schedule)
    )
    loss_of = SegmentationLoss(recipe.loss)
    reports = []
    for epoch, order in enumerate(orders):
        started = time.monotonic()
        network.train()
        losses = []
        for batch in np.array_split(order, steps_per_epoch):
            image, target = _tensors(training, batch)
            image, target = augment(
                image, target, seed=schedule.seed, epoch=epoch, samples=batch.tolist()
            )
            with _mixed_precision(recipe):
                logits = network(image)
            loss = loss_of(logits, target)
            if not torch.isfinite(loss):
                raise _diverged(epoch, settings.learning_rate)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimiser.step()
            scheduler.step()
            losses.append(loss.item())
            step = epoch * steps_per_epoch + len(losses)
            progress.training(step, schedule.epochs * steps_per_epoch, losses[-1])
        reports.append(
            EpochReport(
                epoch=epoch + 1,
                epochs=schedule.epochs,
                training_loss=float(np.mean(losses)),
                validation_dice=_slice_dice(network, recipe, validation),
                seconds=time.monotonic() - started,
            )
        )
        progress.epoch(reports[-1])
    return reports


def _slice_dice(network: WmhNetwork, recipe: Recipe, slices: Slices) -> float:
    """Return the Dice over all validation pixels pooled, one view, threshold 0.5."""
    network.eval()
    both = either = 0
    with torch.inference_mode(), _mixed_precision(recipe):
        for start in range(0, len(slices), recipe.schedule.batch_size):
            chosen = np.arange(start, min(start + recipe.schedule.batch_size, len(slices)))
            image, target = _tensors(slices, chosen)
            predicted, true = network(image).fused > 0, target > 0
            both += int((predicted & true).sum())
            either += int(predicted.sum() + true.sum())
    return 2 * both / either if either else 1.0


def _tensors(slices: Slices, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
    return (
        torch.from_numpy(slices.images[chosen].astype(np.float32)),
        torch.from_numpy(slices.targets[chosen].astype(np.float32)),
    )


def _mixed_precision(recipe: Recipe) -> torch.autocast:
    bf16 = recipe.optimiser.mixed_precision == "bf16"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16)


def _diverged(epoch: int, learning_rate: float) -> RecipeError:
    return RecipeError(
        f"the loss is not finite in epoch {epoch + 1}",
        f"Lower optimiser.learning_rate ({learning_rate:g}) or set mixed_precision to no.",
    )


def _counting(report: Callable[[int, int], None], total: int) -> Callable[[], None]:
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        report(done, total)

    return one_more
