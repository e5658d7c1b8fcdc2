"""Device and processes of a training, managed by accelerate."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, PartialState

from wmh_runtime.errors import RecipeError
from wmh_train.loop.allocator import keep_freed_memory
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe


def open_accelerator(recipe: Recipe) -> Accelerator:
    """Open the device: a GPU per process of `accelerate launch` if PyTorch finds one, else the CPU.

    The recipe sets the precision. The configuration of accelerate does not change it.

    Raises:
        RecipeError: the device does not support the precision, or the processes cannot share a
            batch.
    """
    schedule, precision = recipe.schedule, recipe.optimizer.mixed_precision
    try:
        accelerator = Accelerator(mixed_precision=precision, cpu=_cpu_only())
    except ValueError as error:
        raise _unsupported(precision, "this device") from error
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise _unsupported(precision, "a CPU")
    if accelerator.num_processes != _launched_processes():
        raise RecipeError(
            f"{_launched_processes()} processes were launched, but accelerate found"
            f" {accelerator.num_processes}",
            "Check the configuration of accelerate, or launch one process.",
        )
    micro_batches = schedule.batch_size // schedule.micro_batch_size
    if micro_batches % accelerator.num_processes:
        raise RecipeError(
            f"{accelerator.num_processes} processes cannot share {micro_batches} micro-batches of"
            f" {schedule.micro_batch_size} slices",
            "Reduce schedule.micro_batch_size, or use another number of processes.",
        )
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    return accelerator


def _unsupported(precision: str, device: str) -> RecipeError:
    remedy = "Set optimizer.mixed_precision to bf16 or no."
    return RecipeError(f"{device} cannot train in {precision}", remedy)


def move_to_device(network: WmhNetwork) -> WmhNetwork:
    """Move a network to the device that a training would use, and return it."""
    network.to(PartialState(cpu=_cpu_only()).device)
    return network


def require_one_process(task: str) -> None:
    """Raise an error if several processes were launched, since each would do the whole task.

    Raises:
        RecipeError: there are several processes.
    """
    if _launched_processes() > 1:
        raise RecipeError(
            f"{task} runs in one process, but {_launched_processes()} were launched",
            "Run it without accelerate launch or torchrun.",
        )


def processes_per_device(accelerator: Accelerator) -> int:
    """Return how many processes share the memory of this device; on a CPU, all of the machine."""
    if accelerator.device.type != "cpu":
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))


def is_main_process() -> bool:
    """Return whether this process prints messages. It works before the device is opened."""
    return os.environ.get("RANK", "0") == "0"


def _launched_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _cpu_only() -> bool:
    """Return whether there is only a CPU. accelerate needs this to connect several processes."""
    return not torch.accelerator.is_available()
