"""The device and the processes that a training runs on, by accelerate."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, PartialState

from wmh_runtime.errors import RecipeError
from wmh_train.loop.allocator import keep_freed_memory
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe


def open_accelerator(recipe: Recipe) -> Accelerator:
    """Take the device: a GPU where PyTorch sees one, one for each process of `accelerate launch`.

    The recipe decides the precision, whatever accelerate's own configuration says.

    Raises:
        RecipeError: the device cannot do that precision, or the processes cannot share a batch.
    """
    schedule, precision = recipe.schedule, recipe.optimizer.mixed_precision
    try:
        accelerator = Accelerator(mixed_precision=precision, cpu=_only_cpus())
    except ValueError as error:
        raise _unable(precision, "this device") from error
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise _unable(precision, "a CPU")
    if accelerator.num_processes != _launched():
        raise RecipeError(
            f"{_launched()} processes were launched, {accelerator.num_processes} found each other",
            "Check the configuration of accelerate, or launch one process.",
        )
    shares = schedule.batch_size // schedule.slices_at_once
    if shares % accelerator.num_processes:
        raise RecipeError(
            f"{accelerator.num_processes} processes cannot share {shares} times"
            f" {schedule.slices_at_once} slices",
            "Lower schedule.slices_at_once, or use another number of processes.",
        )
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    return accelerator


def _unable(precision: str, device: str) -> RecipeError:
    advice = "Set optimizer.mixed_precision to bf16 or no."
    return RecipeError(f"{device} cannot train in {precision}", advice)


def place(network: WmhNetwork) -> WmhNetwork:
    """Move a network to the device that a training would run on, and return it."""
    network.to(PartialState(cpu=_only_cpus()).device)
    return network


def require_one_process(what: str) -> None:
    """Refuse to do something in several processes that would do it several times.

    Raises:
        RecipeError: there are several.
    """
    if _launched() > 1:
        advice = "Leave accelerate launch or torchrun out."
        raise RecipeError(f"{what} runs in one process, {_launched()} were launched", advice)


def processes_here(accelerator: Accelerator) -> int:
    """Return how many processes share this device's memory: all of a machine's on a CPU."""
    if accelerator.device.type != "cpu":
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))


def is_main_process() -> bool:
    """Say whether this is the process that speaks, before any device is taken."""
    return os.environ.get("RANK", "0") == "0"


def _launched() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _only_cpus() -> bool:
    """Tell accelerate where there is nothing else, so that several processes meet on CPUs."""
    return not torch.accelerator.is_available()
