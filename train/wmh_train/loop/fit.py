"""Training from files to files: annotated scans and a recipe become a checkpoint.

out/
├── checkpoint.json, model-….safetensors    the best epoch so far; see checkpoint.py
├── curves.png, history.csv, tensorboard/   the course
├── cache/                                  prepared slices, unless kept elsewhere
└── resume.pt                               where to go on, until it is finished
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from wmh_runtime.errors import RecipeError
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun
from wmh_train.checkpoint import CheckpointFacts, holds_checkpoint, load_facts, save_facts
from wmh_train.cost import require_memory
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache, scan_key
from wmh_train.data.split import Split
from wmh_train.loop.checkpoint_writer import Origin, Publisher, finished_facts
from wmh_train.loop.curves import Monitor
from wmh_train.loop.distributed import open_accelerator, processes_here
from wmh_train.loop.loop import EpochReport, LoopListener, StepReport, TrainingLoop
from wmh_train.loop.resume import StateKeeper, TrainingState
from wmh_train.model.base import Base
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe

CACHE_NAME = "cache"
_SAVE_EVERY_S = 300.0
_FEW_SCANS = 5  # validation on fewer is worth a warning


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
        """Training begins, or goes on; the line says with what, where and on what."""


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
    keys = _scan_keys(recipe, data)
    identity = _identity(recipe, data.split, base, keys)
    keeper = StateKeeper(out, save_every_s)
    if _is_finished(out, identity, recipe, data.split, keys):
        keeper.remove()
        return load_facts(out)
    make_writable_folder(out)
    accelerator = open_accelerator(recipe)
    require_memory(recipe, accelerator.device, processes_here(accelerator))
    state = keeper.load(identity, accelerator.num_processes)
    training, validation = _prepared(recipe, data, cache or out / CACHE_NAME, accelerator, listener)

    torch.manual_seed(recipe.schedule.seed)
    network = WmhNetwork(recipe, base)
    loop = TrainingLoop(network, recipe, training, validation, accelerator)
    steps_done = state.epoch * loop.steps_per_epoch + state.step
    publisher = Publisher(
        out, network, recipe, base, Origin(data.name, data.split, identity, keys), training
    )
    if accelerator.is_main_process:
        for warning in _cautions(training, validation):
            listener.warning(warning)
        listener.starting(
            f"learns from {_told(training)}, {loop.steps_per_epoch} steps an epoch;"
            f" validates on {_told(validation)}"
        )
        listener.starting(_beginning(state, steps_done, accelerator, recipe))
    with Monitor(out, steps_done, state, enabled=accelerator.is_main_process) as monitor:
        loop.run(state, keeper, _Chain([publisher, monitor, listener]))
    facts = finished_facts(out, network, base, validation, accelerator)
    if accelerator.is_main_process:
        save_facts(out, facts)
        keeper.remove()
    accelerator.wait_for_everyone()  # nobody reads them before they are written
    # What learned is let go before the processes part: where it holds the connection last, closing
    # that waits for a thread which waits for this one. Interpreters that end connected may abort.
    del loop
    accelerator.free_memory()
    accelerator.end_training()
    return facts


def _scan_keys(recipe: Recipe, data: FitData) -> dict[str, str]:
    names = (*data.split.training, *data.split.validation)
    return {scan.name: scan_key(scan, recipe.preprocessing) for scan in data.those(names)}


def _identity(recipe: Recipe, split: Split, base: Base | None, keys: dict[str, str]) -> str:
    """Return a hash of everything that a training's result depends on but the machine."""
    parts = (
        recipe.model_dump_json(),
        split.model_dump_json(),
        base.identity.sha256 if base is not None else "",
        *(f"{name} {key}" for name, key in sorted(keys.items())),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _is_finished(
    out: Path, identity: str, recipe: Recipe, split: Split, keys: dict[str, str]
) -> bool:
    """Say whether a folder holds this training, finished; RecipeError where it holds another."""
    if not holds_checkpoint(out):
        return False
    facts = load_facts(out)
    if facts.identity != identity:
        raise RecipeError(
            f"holds a checkpoint of another training: {_difference(facts, recipe, split, keys)}",
            "Choose another folder.",
            about=out,
        )
    return facts.finished


def _difference(facts: CheckpointFacts, recipe: Recipe, split: Split, keys: dict[str, str]) -> str:
    """Say in what a checkpoint's training differs from this one."""
    was, now = (_flat(one.model_dump(mode="json")) for one in (facts.recipe, recipe))
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key):
            return f"its {key} is {was.get(key)}, now {now.get(key)}"
    if facts.split != split:
        return "its scans were split otherwise, or were others"
    if facts.scan_keys != keys:
        return "the content of a scan or mask has changed"
    return "it stands on another base"


def _flat(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Name the values of nested tables as a recipe's errors do: schedule.epochs."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{above}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


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
    fill_cache(mine, recipe.preprocessing, cache, one_more)
    accelerator.wait_for_everyone()
    opened = (
        open_cache(training, recipe.preprocessing, cache),
        open_cache(validation, recipe.preprocessing, cache),
    )
    if accelerator.is_main_process:
        for warning in (*opened[0].warnings, *opened[1].warnings):
            listener.warning(warning)
    return opened


def _told(slices: CachedSlices) -> str:
    """Say what slices there are: of how many scans, of which sites."""
    sites = Counter(scan.site for scan in slices.scans if scan.site)
    by_site = ", ".join(f"{site} {count}" for site, count in sorted(sites.items()))
    return (
        f"{len(slices.scans)} scans{f' ({by_site})' if by_site else ''},"
        f" {len(slices.with_lesion)} slices, {slices.with_lesion.sum()} of them with lesions"
    )


def _cautions(training: CachedSlices, validation: CachedSlices) -> list[str]:
    """Say why the validation may mislead, where it may."""
    cautions = []
    if len(validation.scans) < _FEW_SCANS:
        cautions.append(
            f"{count_noun(len(validation.scans), 'validation scan')}: the best epoch, threshold"
            " and Dice that they choose may be chance; raise data.validation_share or give more"
            " scans"
        )
    sites = {scan.site for scan in training.scans} - {scan.site for scan in validation.scans}
    if missing := sorted(site for site in sites if site):
        cautions.append(f"no scan of {', '.join(missing)} among those that validate")
    return cautions


def _beginning(
    state: TrainingState, steps_done: int, accelerator: Accelerator, recipe: Recipe
) -> str:
    """Say where a training begins and what executes it."""
    device, processes = accelerator.device, accelerator.num_processes
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    line = (
        f"{'goes on after' if steps_done else 'begins at'} step {steps_done} on"
        f" {processes} × {device.type}{name}, precision {recipe.optimizer.mixed_precision}"
    )
    if differences := state.differences():
        line += (
            f"; its runs differ in {', '.join(differences)}, so the result may not be bit for bit"
            " that of an uninterrupted training"
        )
    return line


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
