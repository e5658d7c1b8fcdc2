"""Training from files to files: annotated scans and a recipe become a checkpoint.

out/
├── checkpoint.json, model.safetensors      the best epoch so far; see checkpoint.py
├── curves.png, history.csv, tensorboard/   the course
├── cache/                                  prepared slices, unless kept elsewhere
└── resume.pt                               where to go on, until it is finished
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator

from wmh_runtime.errors import RecipeError
from wmh_runtime.folders import make_writable_folder
from wmh_train.checkpoint import (
    CheckpointFacts,
    Provenance,
    holds_checkpoint,
    load_facts,
    load_network,
    save_facts,
    save_weights,
    trained_tensors,
)
from wmh_train.curves import Monitor
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.data.split import Split
from wmh_train.footprint import require_memory
from wmh_train.loop import EpochReport, LoopListener, StepReport, TrainingLoop
from wmh_train.model.base import Base
from wmh_train.model.network import WmhNetwork, parameter_counts
from wmh_train.processes import open_accelerator, processes_here
from wmh_train.recipe import Recipe
from wmh_train.resume import StateKeeper, TrainingState, sha256_of_tensors
from wmh_train.validation import validation_dice

CACHE_NAME = "cache"
_SAVE_EVERY_S = 300.0


@dataclass(frozen=True)
class FitData:
    """What a training learns from."""

    name: str  # of the data set
    scans: tuple[AnnotatedScan, ...]
    split: Split

    def those(self, names: Iterable[str]) -> list[AnnotatedScan]:
        """Return the scans of a part of the split."""
        by_name = {scan.name: scan for scan in self.scans}
        return [by_name[name] for name in names]


class FitListener(LoopListener):
    """Is told how a fit goes, by the main process alone. The default does nothing."""

    def preparing(self, done: int, total: int) -> None:
        """`done` of `total` scans are prepared."""

    def warning(self, line: str) -> None:
        """Something about a scan is worth knowing."""

    def starting(self, line: str) -> None:
        """Training begins, or goes on; the line says where and on what."""


def fit(
    recipe: Recipe,
    data: FitData,
    out: Path,
    base: Base | None,
    listener: FitListener,
    *,
    cache: Path | None = None,
    save_every_s: float = _SAVE_EVERY_S,
) -> CheckpointFacts:
    """Train a network and write its checkpoint; go on where an interrupted training stopped.

    Args:
        recipe: decides everything.
        data: annotated scans and their split.
        out: folder of the training, made if needed.
        base: weights of the encoder; needed where it is frozen.
        listener: is told what happens.
        cache: folder of prepared slices; None keeps them in `out`.
        save_every_s: how often to save where the training stands; it is saved after every epoch.

    Returns:
        The facts of the finished checkpoint; at once, if it was finished before.

    Raises:
        RecipeError: the data do not fit the recipe, `out` holds another training, memory is short,
            or the loss is no longer finite.
        InputError: a scan cannot be read, or `out` not be written to.
    """
    if base is None and not recipe.network.encoder.trained:
        raise RecipeError("its encoder is frozen", "Give its weights: --base.", about=recipe.name)
    finished = _finished(out, recipe, data.split, base)
    if finished is not None:
        return finished
    make_writable_folder(out)
    accelerator = open_accelerator(recipe)
    require_memory(recipe, accelerator.device, processes_here(accelerator))
    training, validation = _prepared(recipe, data, cache or out / CACHE_NAME, accelerator, listener)

    keeper = StateKeeper(out, save_every_s)
    prepared = [folder.name for folder in (*training.folders, *validation.folders)]  # content keys
    identity = _identity(recipe, data.split, base, prepared)
    state = keeper.load(identity, accelerator.num_processes)
    torch.manual_seed(recipe.schedule.seed)
    network = WmhNetwork(recipe, base)
    loop = TrainingLoop(network, recipe, training, validation, accelerator)
    steps_done = state.epoch * loop.steps_per_epoch + state.step
    publisher = _Publisher(recipe, data, base, out, network, len(training.with_lesion))
    if accelerator.is_main_process:
        listener.starting(_beginning(state, steps_done, accelerator, recipe))
    with Monitor(out, steps_done, state, enabled=accelerator.is_main_process) as monitor:
        loop.run(state, keeper, _Chain([publisher, monitor, listener]))
    last = sha256_of_tensors(trained_tensors(network))
    facts = _finish(out, base, validation, accelerator, {"last_float32_sha256": last})
    if accelerator.is_main_process:
        keeper.remove()
    return facts


def _finished(out: Path, recipe: Recipe, split: Split, base: Base | None) -> CheckpointFacts | None:
    """Return the facts of a training that has come to its end, if there is one."""
    if not holds_checkpoint(out):
        return None
    facts = load_facts(out)
    identity = base.identity if base is not None else None
    if (facts.recipe, facts.split) != (recipe, split) or (
        (facts.base and facts.base.sha256) != (identity and identity.sha256)
    ):
        raise RecipeError(
            "holds a checkpoint of another recipe, data, split or base",
            "Choose another folder.",
            about=out,
        )
    return facts if facts.finished else None


def _identity(recipe: Recipe, split: Split, base: Base | None, slice_keys: Iterable[str]) -> str:
    """Return a hash of everything that a training's result depends on but the machine."""
    parts = (
        recipe.model_dump_json(),
        split.model_dump_json(),
        base.identity.sha256 if base is not None else "",
        *slice_keys,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _prepared(
    recipe: Recipe, data: FitData, cache: Path, accelerator: Accelerator, listener: FitListener
) -> tuple[CachedSlices, CachedSlices]:
    """Prepare training and validation slices, each process its share, and open them."""
    training, validation = data.those(data.split.training), data.those(data.split.validation)
    scans = [*training, *validation]
    done = 0

    def one_more() -> None:
        nonlocal done
        done = min(done + accelerator.num_processes, len(scans))
        if accelerator.is_main_process:
            listener.preparing(done, len(scans))

    mine = scans[accelerator.process_index :: accelerator.num_processes]
    fill_cache(mine, recipe.preparation, cache, one_more)
    accelerator.wait_for_everyone()
    opened = (
        open_cache(training, recipe.preparation, cache),
        open_cache(validation, recipe.preparation, cache),
    )
    if accelerator.is_main_process:
        for warning in (*opened[0].warnings, *opened[1].warnings):
            listener.warning(warning)
    return opened


def _beginning(
    state: TrainingState, steps_done: int, accelerator: Accelerator, recipe: Recipe
) -> str:
    """Say where a training begins and what executes it."""
    device, processes = accelerator.device, accelerator.num_processes
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    line = (
        f"{'goes on after' if steps_done else 'begins at'} step {steps_done} on"
        f" {processes} × {device.type}{name}, precision {recipe.optimiser.mixed_precision}"
    )
    if state.processes != processes:
        line += (
            f"; it began with {state.processes} process(es), so the result will not be"
            " bit for bit that of an uninterrupted training"
        )
    return line


class _Publisher(LoopListener):
    """Writes the checkpoint of every epoch that is the best so far."""

    def __init__(
        self,
        recipe: Recipe,
        data: FitData,
        base: Base | None,
        out: Path,
        network: WmhNetwork,
        slices: int,
    ) -> None:
        self._recipe = recipe
        self._data = data
        self._base = base
        self._out = out
        self._network = network
        self._slices = slices

    def best(self, report: EpochReport) -> None:
        counts = parameter_counts(self._network)
        facts = CheckpointFacts(
            recipe=self._recipe,
            base=self._base.identity if self._base is not None else None,
            split=self._data.split,
            epoch=report.epoch,
            finished=False,
            validation=report.validation,
            weights_sha256=save_weights(self._out, self._network),
            provenance=Provenance(
                data=self._data.name,
                parameters=counts.total,
                trained_parameters=counts.trained,
                training_slices=self._slices,
                details={
                    "training_loss": round(report.losses["total"], 4),
                    "minutes": round(report.seconds / 60, 1),
                    "processor": platform.machine(),
                    "torch": torch.__version__,
                    "wmh-lora": version("wmh-lora"),
                },
            ),
        )
        save_facts(self._out, facts)


class _Chain(LoopListener):
    """Tells several listeners, in order."""

    def __init__(self, listeners: list[LoopListener]) -> None:
        self._listeners = listeners

    def step(self, report: StepReport) -> None:
        for listener in self._listeners:
            listener.step(report)

    def best(self, report: EpochReport) -> None:
        for listener in self._listeners:
            listener.best(report)

    def epoch(self, report: EpochReport) -> None:
        for listener in self._listeners:
            listener.epoch(report)


def _finish(
    out: Path,
    base: Base | None,
    validation: CachedSlices,
    accelerator: Accelerator,
    details: dict[str, str],
) -> CheckpointFacts:
    """Load the best checkpoint as anybody would, measure it again, and call it finished."""
    facts = load_facts(out)
    network = load_network(out, facts, base.path if base is not None else None)
    network.to(accelerator.device)
    measured = validation_dice(
        network,
        validation,
        facts.recipe.schedule.slices_at_once,
        accelerator,
    )
    provenance = facts.provenance.model_copy(update={"details": facts.provenance.details | details})
    facts = facts.model_copy(
        update={"validation": measured, "finished": True, "provenance": provenance}
    )
    if accelerator.is_main_process:
        save_facts(out, facts)
    return facts
