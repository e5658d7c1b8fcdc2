"""A whole training: from annotated scans and a recipe to a checkpoint.

out/
├── checkpoint.json, model-….safetensors    the best epoch so far; see checkpoint.py
├── curves.png, history.csv, tensorboard/   history of losses and validation
├── cache/                                  preprocessed slices, unless `cache` is another folder
├── .new-heads/                             synthetic heads of this epoch and the next, if any
└── resume.pt                               state for resuming, until the training is finished
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.files.folders import make_writable_folder
from wmh_train.checkpoint import CheckpointMetadata, load_metadata, save_metadata
from wmh_train.cost import require_memory
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.data.cache_entry import scan_key
from wmh_train.data.new_heads import NewHeads, remove_new_heads
from wmh_train.data.split import Split
from wmh_train.data.teacher import TaughtScans
from wmh_train.fit.checkpoint_writer import (
    CheckpointWriter,
    TrainingInputs,
    finished_metadata,
)
from wmh_train.fit.describe import (
    describe_new_heads,
    describe_slices,
    describe_start,
    describe_teacher,
)
from wmh_train.fit.history import HistoryWriter
from wmh_train.fit.input_checks import (
    require_disjoint_split,
    require_sources,
    require_start,
    require_teachable,
    validation_warnings,
)
from wmh_train.identity import is_finished, training_identity
from wmh_train.initial_weights import InitialWeights
from wmh_train.loop.distributed import (
    is_main_process,
    open_accelerator,
    processes_per_device,
    require_one_process,
)
from wmh_train.loop.missing_regions import MissingRegions
from wmh_train.loop.resume import ResumeFile
from wmh_train.loop.schedule import schedule_warnings
from wmh_train.loop.training_loop import EpochReport, LoopListener, StepReport, TrainingLoop
from wmh_train.model.layers import freeze_layers
from wmh_train.model.network import build_network
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.recipe.recipe import Recipe
from wmh_train.synthesis.cohort import Sources

CACHE_NAME = "cache"
_SAVE_EVERY_S = 300.0


@dataclass(frozen=True)
class FitData:
    """The data of a training: scans with masks or with the probabilities of a teacher."""

    name: str  # name of the data set
    scans: tuple[AnnotatedScan, ...]
    split: Split
    teacher: Teacher | None = None  # of the taught scans, which are for training

    def with_taught(self, taught: TaughtScans) -> FitData:
        """Add scans to the training; see `without_known`."""
        names = [scan.name for scan in taught.scans]
        training = sorted([*self.split.training, *names])
        return FitData(
            self.name,
            (*self.scans, *taught.scans),
            self.split.model_copy(update={"training": training}),
            taught.teacher,
        )

    def scans_named(self, names: Iterable[str]) -> list[AnnotatedScan]:
        """Return the scans with these names, in this order."""
        by_name = {scan.name: scan for scan in self.scans}
        return [by_name[name] for name in names]


class FitListener(LoopListener):
    """Receives the progress of `fit`, in the main process only. By default it does nothing."""

    def preprocessing(self, done: int, total: int) -> None:
        """Called after each scan: `done` of `total` scans are preprocessed."""

    def warning(self, line: str) -> None:
        """Called for each warning."""

    def info(self, line: str) -> None:
        """Called for each line about data and device before the first step."""


def fit(
    recipe: Recipe,
    data: FitData,
    out: Path,
    pretrained: PretrainedWeights | None,
    listener: FitListener,
    *,
    cache: Path | None = None,
    initial: InitialWeights | None = None,
    sources: Sources | None = None,
    save_every_s: float = _SAVE_EVERY_S,
) -> CheckpointMetadata:
    """Train a network and write its checkpoint. An interrupted training is resumed.

    Args:
        recipe: all settings.
        data: annotated scans, their split, and perhaps taught scans.
        out: output folder, created if missing.
        pretrained: weights of the encoder; required if it is frozen.
        listener: receives the progress.
        cache: folder of preprocessed slices; None: a folder in `out`.
        initial: weights of another training to start from; None: random ones.
        sources: what the new heads of each epoch are made from, if the recipe has any.
        save_every_s: seconds between two saves of the state. It is also saved after each epoch.

    Returns:
        The metadata of the finished checkpoint. If it is already finished, nothing is trained.

    Raises:
        RecipeError: the data do not fit the recipe, `out` contains another training, memory is
            too small, or the loss is not finite.
        InputError: a scan cannot be read, `out` cannot be written, or a library that the recipe
            needs is not installed.
    """
    recipe.preprocessing.require_installed()
    require_start(recipe, pretrained, initial)
    require_sources(recipe, sources)
    if data.teacher is not None:
        require_teachable(recipe)
    keys = scan_keys(recipe, data)
    require_disjoint_split(data.split, keys)
    identity = training_identity(recipe, data.split, pretrained, keys, initial, sources)
    resume_file = ResumeFile(out, save_every_s)
    if is_finished(out, identity, recipe, data.split, keys):
        resume_file.remove()
        if is_main_process():
            listener.info(f"{out}: already finished, nothing to train")
        return load_metadata(out)
    make_writable_folder(out)
    accelerator = open_accelerator(recipe)
    if sources is not None:
        require_one_process("a training with new heads")
    if accelerator.is_main_process:
        for warning in schedule_warnings(recipe):
            listener.warning(warning)
    require_memory(recipe, accelerator.device, processes_per_device(accelerator))
    state = resume_file.load(identity, accelerator.num_processes)
    training, validation = _open_slices(
        recipe, data, cache or out / CACHE_NAME, accelerator, listener
    )

    torch.manual_seed(recipe.schedule.seed)
    network = build_network(recipe, pretrained)
    missing_regions = None
    if initial is not None:
        initial.load_into(network)
        if recipe.regions:
            missing_regions = MissingRegions(network, len(recipe.outputs), accelerator.device)
    freeze_layers(network, recipe.optimizer.frozen_layers)
    new_heads = None if sources is None else NewHeads(sources, recipe, out, identity)
    of_epochs = training if new_heads is None else partial(new_heads.slices_after, training)
    loop = TrainingLoop(network, recipe, of_epochs, validation, accelerator, missing_regions)
    steps_done = state.epoch * loop.steps_per_epoch + state.step
    start = _initial_name(initial, pretrained)
    before = () if initial is None else initial.learned_images
    inputs = TrainingInputs(
        data.name, data.split, identity, keys, start, sources, data.teacher, before
    )
    checkpoint_writer = CheckpointWriter(
        out, network, recipe, pretrained, inputs, training, validation
    )
    if accelerator.is_main_process:
        for warning in validation_warnings(training, validation, initial, keys):
            listener.warning(warning)
        listener.info(
            f"training: {describe_slices(training)}{describe_new_heads(recipe)}"
            f"{describe_teacher(data.teacher)},"
            f" {loop.steps_per_epoch} steps per epoch;"
            f" validation: {describe_slices(validation)}"
        )
        listener.info(describe_start(state, steps_done, accelerator, recipe))
        if new_heads is not None:
            listener.info("making the new heads of this epoch; then the training begins")
    with (
        new_heads or nullcontext(),
        HistoryWriter(out, steps_done, state, enabled=accelerator.is_main_process) as history,
    ):
        loop.run(state, resume_file, _ListenerChain([checkpoint_writer, history, listener]))
    metadata = finished_metadata(out, network, pretrained, validation, accelerator)
    if accelerator.is_main_process:
        remove_new_heads(out)
        save_metadata(out, metadata)
        resume_file.remove()
    accelerator.wait_for_everyone()  # until the metadata is written
    # Delete the loop before the connection between the processes is closed. Otherwise the loop may
    # own the last reference to the connection, and closing it then is a deadlock. If the connection
    # stays open, the interpreter may abort at exit.
    del loop
    accelerator.free_memory()
    accelerator.end_training()
    return metadata


def scan_keys(recipe: Recipe, data: FitData) -> dict[str, str]:
    """Return the hashes of training and validation scans by name, see `scan_key`."""
    names = (*data.split.training, *data.split.validation)
    return {scan.name: scan_key(scan, recipe.preprocessing) for scan in data.scans_named(names)}


def _initial_name(initial: InitialWeights | None, pretrained: PretrainedWeights | None) -> str:
    """Say what weights a training starts from."""
    identities = [one.identity.name for one in (initial, pretrained) if one is not None]
    return identities[0] if identities else "random"


def _open_slices(
    recipe: Recipe, data: FitData, cache: Path, accelerator: Accelerator, listener: FitListener
) -> tuple[CachedSlices, CachedSlices]:
    """Preprocess training and validation scans, shared by the processes, and open the slices."""
    training = data.scans_named(data.split.training)
    validation = data.scans_named(data.split.validation)
    scans = [*training, *validation]
    done = 0

    def count_scan() -> None:
        nonlocal done
        done = min(done + accelerator.num_processes, len(scans))
        if accelerator.is_main_process:
            listener.preprocessing(done, len(scans))

    own = scans[accelerator.process_index :: accelerator.num_processes]
    fill_cache(own, recipe.preprocessing, cache, count_scan)
    accelerator.wait_for_everyone()
    opened = (
        open_cache(training, recipe.preprocessing, cache),
        open_cache(validation, recipe.preprocessing, cache),
    )
    if accelerator.is_main_process:
        for warning in (*opened[0].warnings, *opened[1].warnings):
            listener.warning(warning)
    return opened


class _ListenerChain(LoopListener):
    """Calls several listeners in order."""

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

    def stopping(self) -> None:
        for listener in self._listeners:
            listener.stopping()
