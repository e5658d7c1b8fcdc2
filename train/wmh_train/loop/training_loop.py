"""The training loop: one optimizer step after another, the same whenever and wherever it is run.

Every random number follows from the recipe's seed and the step, and every step has the recipe's
number of slices, shared by the processes. So a training that was killed goes on from its saved
state to the very weights an uninterrupted one ends with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
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
from wmh_train.checkpoint import ValidationDice, trained_tensors
from wmh_train.data.cache import CachedSlices
from wmh_train.data.sampling import draw_epoch
from wmh_train.loop.losses import Losses, SegmentationLoss
from wmh_train.loop.resume import StateKeeper, TrainingState
from wmh_train.loop.schedule import learning_rate
from wmh_train.loop.validation import validation_dice
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe

_BETAS = (0.9, 0.999)
# fp16's scaler skips a step whose gradients overflow and halves its scale, 65536 at first. After
# so many in a row the scale is below 1: it is no longer the scale that is wrong.
_SKIPPED_IN_A_ROW = 20


@dataclass(frozen=True)
class StepReport:
    """How one optimizer step went."""

    step: int  # done so far, of the whole training
    steps: int
    losses: dict[str, float]  # by part, mean over the step's slices
    learning_rate: float


@dataclass(frozen=True)
class EpochReport:
    """How one epoch went."""

    epoch: int  # counted from 1
    epochs: int
    losses: dict[str, float]  # by part, mean over the epoch
    learning_rate: float  # of its last step
    validation: ValidationDice
    is_best: bool
    seconds: float  # since the training began, interruptions left out


class LoopListener:
    """Is told how the training goes, by the main process alone. The default does nothing."""

    def step(self, report: StepReport) -> None:
        """An optimizer step is done."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""

    def best(self, report: EpochReport) -> None:
        """An epoch is done that was the best so far; comes before `epoch`."""


class TrainingLoop:
    """Trains a network.

    Args:
        network: is changed in place.
        recipe: decides everything.
        training: slices to learn from.
        validation: slices to measure on.
        accelerator: device, processes and precision.
    """

    def __init__(
        self,
        network: WmhNetwork,
        recipe: Recipe,
        training: CachedSlices,
        validation: CachedSlices,
        accelerator: Accelerator,
    ) -> None:
        self._network = network
        self._recipe = recipe
        self._training = training
        self._validation = validation
        self._accelerator = accelerator
        self._loss_of = SegmentationLoss(recipe.loss)
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._interruption = GracefulShutdown()
        self._stopping = False
        self._skipped = 0  # steps in a row
        self.steps_per_epoch = len(self._order(0)) // recipe.schedule.batch_size
        if not self.steps_per_epoch:
            raise RecipeError(
                f"an epoch draws {len(self._order(0))} slices, fewer than a batch of"
                f" {recipe.schedule.batch_size}",
                "Lower schedule.batch_size, or give more scans.",
            )

    def run(self, state: TrainingState, keeper: StateKeeper, listener: LoopListener) -> None:
        """Train from a state to the end; the network then holds the last step's weights.

        Args:
            state: to begin with; is brought up to date all along.
            keeper: saves it.
            listener: is told how it goes.

        Raises:
            RecipeError: loss or gradient is no longer finite. What was saved before stays.
            InterruptionError: one of the processes was asked to end. The state is saved.
        """
        with self._interruption:
            self._run(state, keeper, listener)

    def _run(self, state: TrainingState, keeper: StateKeeper, listener: LoopListener) -> None:
        self._begin(state)
        for epoch in range(state.epoch, self._recipe.schedule.epochs):
            started, spent = time.monotonic(), state.seconds
            for report in self._steps(epoch, state):
                state.seconds = spent + time.monotonic() - started
                if self._accelerator.is_main_process:
                    listener.step(report)
                    if keeper.is_due() or self._stopping:
                        keeper.save(self._captured(state))
                if self._stopping:
                    raise InterruptionError(
                        f"stopped after step {report.step} of {report.steps}, saved",
                        "The same command goes on from there.",
                    )
            report_of_epoch = self._end_epoch(epoch, state, spent + time.monotonic() - started)
            if self._accelerator.is_main_process:
                if report_of_epoch.is_best:
                    listener.best(report_of_epoch)
                listener.epoch(report_of_epoch)
                keeper.save(self._captured(state))
        self._accelerator.wait_for_everyone()

    def _begin(self, state: TrainingState) -> None:
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

    def _captured(self, state: TrainingState) -> TrainingState:
        state.network = {
            name: tensor.detach() for name, tensor in trained_tensors(self._network).items()
        }
        state.optimizer = self._optimizer.state_dict()
        if self._accelerator.scaler is not None:
            state.scaler = self._accelerator.scaler.state_dict()
        return state

    def _order(self, epoch: int) -> NDArray[np.int_]:
        return draw_epoch(
            self._training.with_lesion,
            self._recipe.data.empty_slices,
            seed=self._recipe.schedule.seed,
            epoch=epoch,
        )

    def _steps(self, epoch: int, state: TrainingState) -> Iterator[StepReport]:
        """Do the steps of an epoch that are left; what does not fill a batch is left out."""
        schedule, per_epoch = self._recipe.schedule, self.steps_per_epoch
        batches = self._order(epoch)[: per_epoch * schedule.batch_size].reshape(per_epoch, -1)
        self._model.train()
        for within in range(state.step, per_epoch):
            step = epoch * per_epoch + within
            rate = learning_rate(step, per_epoch, self._recipe)
            parts = self._step(batches[within], epoch, step, rate)
            state.loss_sums = np.add(state.loss_sums or np.zeros(len(parts)), parts).tolist()
            state.step = within + 1
            yield StepReport(step + 1, schedule.epochs * per_epoch, _named(parts), rate)

    def _step(self, batch: NDArray[np.int_], epoch: int, step: int, rate: float) -> list[float]:
        """Do one optimizer step on a batch of places of slices; return its loss parts."""
        accelerator, recipe = self._accelerator, self._recipe
        rank, processes = accelerator.process_index, accelerator.num_processes
        _seed_dropout(recipe.schedule.seed, step, rank)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        num_streams = batch.reshape(-1, recipe.schedule.slices_at_once)[rank::processes]
        sums = torch.zeros(len(Losses._fields), device=accelerator.device)
        for i, places in enumerate(num_streams):
            with self._synchronizing(i == len(num_streams) - 1):
                images, targets = self._tensors(places)
                images, targets = augment(
                    images,
                    targets,
                    recipe.augmentation,
                    seed=recipe.schedule.seed,
                    epoch=epoch,
                    samples=places.tolist(),
                )
                losses = self._loss_of(self._model(images), targets)
                accelerator.backward(losses.total / len(num_streams))
            sums += torch.stack([part.detach() for part in losses]) / len(num_streams)
        # Processes are asked to stop one by one, and must agree on the step.
        asked = sums.new_tensor([float(self._interruption.requested)])
        *parts, stopping = accelerator.reduce(torch.cat([sums, asked]), "mean").tolist()
        self._stopping = stopping > 0
        if not np.isfinite(parts[0]):
            raise _diverged("loss", epoch, recipe)
        norm = accelerator.clip_grad_norm_(self._parameters, recipe.optimizer.clip_norm)
        if accelerator.scaler is None and not norm.isfinite():
            raise _diverged("gradient", epoch, recipe)
        self._optimizer.step()
        self._skipped = self._skipped + 1 if self._optimizer.step_was_skipped else 0
        if self._skipped == _SKIPPED_IN_A_ROW:
            raise _diverged("gradient", epoch, recipe)
        self._optimizer.zero_grad()
        self._average_statistics()
        return parts

    def _synchronizing(self, wanted: bool) -> AbstractContextManager[Any]:
        """Exchange gradients between processes after this backward pass, or not yet."""
        return nullcontext() if wanted else self._accelerator.no_sync(self._model)

    def _tensors(self, places: NDArray[np.int_]) -> tuple[Tensor, Tensor]:
        images, targets = self._training.read(places)
        device = self._accelerator.device
        return torch.from_numpy(images).to(device), torch.from_numpy(targets).to(device)

    def _end_epoch(self, epoch: int, state: TrainingState, seconds: float) -> EpochReport:
        schedule = self._recipe.schedule
        self._model.eval()
        validation = validation_dice(
            self._model, self._validation, schedule.slices_at_once, self._accelerator
        )
        report = EpochReport(
            epoch=epoch + 1,
            epochs=schedule.epochs,
            losses=_named([part / self.steps_per_epoch for part in state.loss_sums]),
            learning_rate=learning_rate(
                (epoch + 1) * self.steps_per_epoch - 1, self.steps_per_epoch, self._recipe
            ),
            validation=validation,
            is_best=validation.mean > state.best_dice,
            seconds=seconds,
        )
        state.epoch, state.step, state.loss_sums = epoch + 1, 0, []
        state.best_dice = max(state.best_dice, validation.mean)
        state.seconds = seconds
        state.history.append(asdict(report) | {"validation": validation.model_dump()})
        return report

    def _average_statistics(self) -> None:
        """Average BatchNorm's running statistics over the processes, so that all slices count.

        This is done after every step: at the next one DDP gives the main process's to all, and
        what is saved is then what an uninterrupted training goes on with. The more processes, the
        fewer updates a step makes, so the further back the averages reach; the weights do not
        depend on them.
        """
        if self._accelerator.num_processes == 1:
            return
        statistics = [
            buffer
            for name, buffer in self._network.named_buffers()
            if name.endswith(("running_mean", "running_var"))
        ]
        means = self._accelerator.reduce(torch.cat(statistics), "mean")  # one exchange for all
        for buffer, mean in zip(statistics, means.split([len(b) for b in statistics]), strict=True):
            buffer.copy_(mean)


def _seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make dropout follow from the step, so that no random state has to be saved."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def _named(parts: list[float]) -> dict[str, float]:
    return dict(zip(Losses._fields, parts, strict=True))


def _diverged(what: str, epoch: int, recipe: Recipe) -> RecipeError:
    rate, precision = recipe.optimizer.learning_rate, recipe.optimizer.mixed_precision
    other = "" if precision == "no" else f", or set optimizer.mixed_precision ({precision}) to no"
    kept = "; the best checkpoint so far is kept" if epoch else ""
    return RecipeError(
        f"the {what} is not finite in epoch {epoch + 1}{kept}",
        f"Lower optimizer.learning_rate ({rate:g}){other}, and train into another folder.",
    )
