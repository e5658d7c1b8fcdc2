"""The training loop: deterministic optimizer steps, so that a training can be resumed exactly.

All random numbers are derived from the recipe's seed and the step. Each step uses the recipe's
number of slices, shared by the processes. So a killed training, resumed from its saved state, ends
with exactly the same weights as an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.cohort.shutdown import GracefulShutdown
from wmh_runtime.errors import InterruptionError, RecipeError
from wmh_train.augmentation.augment import augment
from wmh_train.checkpoint import ValidationDice, own_tensors
from wmh_train.data.cache import CachedSlices
from wmh_train.data.sampling import draw_epoch
from wmh_train.loop.batch_norm import (
    average_batch_norm,
    fix_batch_norm,
    fix_frozen_batch_norm,
)
from wmh_train.loop.losses import Losses, SegmentationLoss
from wmh_train.loop.missing_regions import MissingRegions
from wmh_train.loop.resume import ResumeFile, TrainingState
from wmh_train.loop.schedule import learning_rate
from wmh_train.loop.validation import validation_dice
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe

_BETAS = (0.9, 0.999)
# With fp16, the gradient scaler skips a step if gradients overflow, and halves its scale, at first
# 65536. After this many skipped steps in a row the scale is below 1, so it is not the cause.
_MAX_SKIPPED_STEPS = 20


# Returns the training slices of an epoch, from 0; asks the function whether to stop waiting.
EpochSlices = Callable[[int, Callable[[], bool]], CachedSlices]


@dataclass(frozen=True)
class StepReport:
    """Results of one optimizer step."""

    step: int  # steps done so far in the whole training
    steps: int  # steps of the whole training
    losses: dict[str, float]  # by part, mean over the micro-batches of the step
    learning_rate: float


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch."""

    epoch: int  # from 1
    epochs: int
    losses: dict[str, float]  # by part, mean over the epoch
    learning_rate: float  # of the last step
    validation: ValidationDice
    is_best: bool
    seconds: float  # total training time so far, without interruptions


class LoopListener:
    """Receives the progress of a training, in the main process only. By default it does nothing."""

    def step(self, report: StepReport) -> None:
        """Called after each optimizer step."""

    def epoch(self, report: EpochReport) -> None:
        """Called after each epoch."""

    def best(self, report: EpochReport) -> None:
        """Called after each epoch that is the best so far, before `epoch`."""

    def stopping(self) -> None:
        """Called when a signal asks the training to stop: it stops after the next step."""


class TrainingLoop:
    """Trains a network.

    Args:
        network: network to train, changed in place.
        recipe: all settings.
        training: training slices, of all epochs or by epoch.
        validation: validation slices.
        accelerator: device, processes and precision.
        missing_regions: fills in targets that a scan lacks; None: they are ignored.

    Raises:
        RecipeError: an epoch has fewer slices than a batch.
    """

    def __init__(
        self,
        network: WmhNetwork,
        recipe: Recipe,
        training: CachedSlices | EpochSlices,
        validation: CachedSlices,
        accelerator: Accelerator,
        missing_regions: MissingRegions | None = None,
    ) -> None:
        self._network = network
        self._recipe = recipe
        self._training = training
        self._validation = validation
        self._accelerator = accelerator
        self._missing_regions = missing_regions
        self._loss = SegmentationLoss(recipe.loss, len(recipe.outputs))
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._interruption = GracefulShutdown()
        self._stopping = False
        self._skipped = 0  # skipped steps in a row
        slices_per_epoch = recipe.data.epoch_slices or len(self._draw(self._slices_of(0), 0))
        self.steps_per_epoch = slices_per_epoch // recipe.schedule.batch_size
        if not self.steps_per_epoch:
            raise RecipeError(
                f"an epoch has {slices_per_epoch} slices, fewer than a batch of"
                f" {recipe.schedule.batch_size}",
                "Reduce schedule.batch_size, or give more scans.",
            )

    def run(self, state: TrainingState, resume_file: ResumeFile, listener: LoopListener) -> None:
        """Train from a state to the end. Then the network has the weights of the last step.

        Args:
            state: state to start from; it is updated after each step.
            resume_file: saves the state.
            listener: receives the progress.

        Raises:
            RecipeError: loss or gradient is not finite. The last saved state and checkpoint stay.
            InterruptionError: a process received SIGINT or SIGTERM. The state is saved.
        """
        is_main = self._accelerator.is_main_process
        self._interruption = GracefulShutdown(listener.stopping if is_main else lambda: None)
        with self._interruption:
            self._run(state, resume_file, listener)

    def _run(self, state: TrainingState, resume_file: ResumeFile, listener: LoopListener) -> None:
        self._prepare(state)
        for epoch in range(state.epoch, self._recipe.schedule.epochs):
            if state.history and self._is_patience_over(state):
                break
            started, seconds_before = time.monotonic(), state.seconds
            for report in self._run_steps(epoch, state):
                state.seconds = seconds_before + time.monotonic() - started
                if self._accelerator.is_main_process:
                    listener.step(report)
                    if resume_file.is_due() or self._stopping:
                        resume_file.save(self._update(state))
                if self._stopping:
                    raise InterruptionError(
                        f"stopped after step {report.step} of {report.steps}, saved",
                        "Run the same command to resume.",
                    )
            epoch_report = self._finish_epoch(
                epoch, state, seconds_before + time.monotonic() - started
            )
            if self._accelerator.is_main_process:
                if epoch_report.is_best:
                    listener.best(epoch_report)
                listener.epoch(epoch_report)
                resume_file.save(self._update(state))
        self._accelerator.wait_for_everyone()

    def _is_patience_over(self, state: TrainingState) -> bool:
        """Return whether too many epochs were not better than the best one."""
        patience = self._recipe.schedule.patience_epochs
        best = max(row["epoch"] for row in state.history if row["is_best"])
        return patience is not None and state.epoch - best >= patience

    def _prepare(self, state: TrainingState) -> None:
        settings = self._recipe.optimizer
        if state.network:
            self._network.load_state_dict(state.network, strict=False)
        optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.learning_rate,
            betas=_BETAS,
            weight_decay=settings.weight_decay,
        )
        self._model, self._optimizer = self._accelerator.prepare(self._network, optimizer)
        if state.optimizer:
            self._optimizer.load_state_dict(state.optimizer)
        if state.scaler and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state.scaler)

    def _update(self, state: TrainingState) -> TrainingState:
        """Store the current weights and optimizer in the state, and return it."""
        state.network = {
            name: tensor.detach() for name, tensor in own_tensors(self._network).items()
        }
        state.optimizer = self._optimizer.state_dict()
        if self._accelerator.scaler is not None:
            state.scaler = self._accelerator.scaler.state_dict()
        return state

    def _slices_of(self, epoch: int) -> CachedSlices:
        if isinstance(self._training, CachedSlices):
            return self._training
        return self._training(epoch, lambda: self._interruption.requested)

    def _draw(self, slices: CachedSlices, epoch: int) -> NDArray[np.int_]:
        return draw_epoch(
            slices.with_target,
            slices.sites,
            self._recipe.data,
            seed=self._recipe.schedule.seed,
            epoch=epoch,
        )

    def _run_steps(self, epoch: int, state: TrainingState) -> Iterator[StepReport]:
        """Run the remaining steps of an epoch. Slices that do not fill a batch are not used."""
        schedule, per_epoch = self._recipe.schedule, self.steps_per_epoch
        slices = self._slices_of(epoch)
        drawn = self._draw(slices, epoch)[: per_epoch * schedule.batch_size]
        batches = drawn.reshape(per_epoch, -1)
        self._model.train()
        fix_frozen_batch_norm(self._network)
        for index in range(state.step, per_epoch):
            step = epoch * per_epoch + index
            if self._has_fixed_statistics(step):
                fix_batch_norm(self._network)
            rate = learning_rate(step, per_epoch, self._recipe)
            parts = self._run_step(slices, batches[index], epoch, step, rate)
            state.loss_sums = np.add(state.loss_sums or np.zeros(len(parts)), parts).tolist()
            state.step = index + 1
            yield StepReport(step + 1, schedule.epochs * per_epoch, _by_part(parts), rate)

    def _has_fixed_statistics(self, step: int) -> bool:
        epochs = self._recipe.schedule.batch_statistics_epochs
        return epochs is not None and step >= round(epochs * self.steps_per_epoch)

    def _run_step(
        self, slices: CachedSlices, batch: NDArray[np.int_], epoch: int, step: int, rate: float
    ) -> list[float]:
        """Run one optimizer step on a batch, given as indices of slices. Return the loss parts."""
        accelerator, recipe = self._accelerator, self._recipe
        rank, processes = accelerator.process_index, accelerator.num_processes
        _seed_dropout(recipe.schedule.seed, step, rank)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        draws = step % self.steps_per_epoch * len(batch) + np.arange(len(batch))  # in the epoch
        micro_batches, their_draws = (
            numbers.reshape(-1, recipe.schedule.micro_batch_size)[rank::processes]
            for numbers in (batch, draws)
        )
        sums = torch.zeros(len(Losses._fields), device=accelerator.device)
        for i, indices in enumerate(micro_batches):
            with self._gradient_sync(i == len(micro_batches) - 1):
                images, targets = self._load(slices, indices)
                images, targets = augment(
                    images,
                    targets,
                    recipe.augmentation,
                    context_slices=recipe.preprocessing.context_slices,
                    channel_subsets=recipe.channel_subsets,
                    seed=recipe.schedule.seed,
                    epoch=epoch,
                    draws=their_draws[i].tolist(),
                )
                losses = self._loss(self._model(images), targets)
                accelerator.backward(losses.total / len(micro_batches))
            sums += torch.stack([part.detach() for part in losses]) / len(micro_batches)
        # A signal may reach only one process, but all must stop after the same step.
        requested = sums.new_tensor([float(self._interruption.requested)])
        *parts, stopping = accelerator.reduce(torch.cat([sums, requested]), "mean").tolist()
        self._stopping = stopping > 0
        if not np.isfinite(parts[0]):
            raise _divergence_error("loss", epoch, recipe)
        norm = accelerator.clip_grad_norm_(self._parameters, recipe.optimizer.clip_norm)
        if accelerator.scaler is None and not norm.isfinite():
            raise _divergence_error("gradient", epoch, recipe)
        self._optimizer.step()
        self._skipped = self._skipped + 1 if self._optimizer.step_was_skipped else 0
        if self._skipped == _MAX_SKIPPED_STEPS:
            raise _divergence_error("gradient", epoch, recipe)
        self._optimizer.zero_grad()
        average_batch_norm(self._network, self._accelerator)
        return parts

    def _gradient_sync(self, enabled: bool) -> AbstractContextManager[Any]:
        """Average gradients over the processes after this backward pass, if enabled."""
        return nullcontext() if enabled else self._accelerator.no_sync(self._model)

    def _load(self, slices: CachedSlices, indices: NDArray[np.int_]) -> tuple[Tensor, Tensor]:
        device = self._accelerator.device
        images, targets = (torch.from_numpy(array).to(device) for array in slices.read(indices))
        if self._missing_regions is not None:
            with self._accelerator.autocast():
                missing = torch.from_numpy(slices.missing_regions(indices)).to(device)
                targets = self._missing_regions.fill_in(images, targets, missing)
        return images, targets

    def _finish_epoch(self, epoch: int, state: TrainingState, seconds: float) -> EpochReport:
        schedule = self._recipe.schedule
        self._model.eval()
        validation = validation_dice(self._model, self._validation, self._recipe, self._accelerator)
        score = validation.mean if schedule.select_by == "dice" else validation.iou
        assert score is not None
        report = EpochReport(
            epoch=epoch + 1,
            epochs=schedule.epochs,
            losses=_by_part([part / self.steps_per_epoch for part in state.loss_sums]),
            learning_rate=learning_rate(
                (epoch + 1) * self.steps_per_epoch - 1, self.steps_per_epoch, self._recipe
            ),
            validation=validation,
            is_best=score > state.best_score,
            seconds=seconds,
        )
        state.epoch, state.step, state.loss_sums = epoch + 1, 0, []
        state.best_score = max(state.best_score, score)
        state.seconds = seconds
        state.history.append(asdict(report) | {"validation": validation.model_dump()})
        return report


def _seed_dropout(seed: int, step: int, rank: int) -> None:
    """Seed dropout from the step, so that no random state must be saved."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def _by_part(parts: list[float]) -> dict[str, float]:
    return dict(zip(Losses._fields, parts, strict=True))


def _divergence_error(quantity: str, epoch: int, recipe: Recipe) -> RecipeError:
    rate, precision = recipe.optimizer.learning_rate, recipe.optimizer.mixed_precision
    other = "" if precision == "no" else f", or set optimizer.mixed_precision ({precision}) to no"
    kept = "; the best checkpoint so far is kept" if epoch else ""
    return RecipeError(
        f"the {quantity} is not finite in epoch {epoch + 1}{kept}",
        f"Reduce optimizer.learning_rate ({rate:g}){other}, and train into another folder.",
    )
