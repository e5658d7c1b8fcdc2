"""What a recipe costs before anything is spent: parameters, operations, memory, size on disk.

The network is built without memory for its weights (on PyTorch's `meta` device) and run once on
tensors that have a shape but no values, so even ViT-H is counted in seconds on a laptop.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import stored_bytes
from wmh_train.model.network import ParameterCounts, WmhNetwork, parameter_counts
from wmh_train.recipe.recipe import Recipe

_FLOAT_BYTES = 4
_OPTIMISER_FLOATS = 2  # AdamW's moments
# Fitted to the peaks that benchmarks/README.md lists for the recipes' training steps.
_PROCESS_BYTES = 750_000_000  # PyTorch, its libraries and working memory
_BACKWARD = 1.4  # of the activations: the gradients that are there beside them
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Footprint:
    """What a recipe costs."""

    parameters: ParameterCounts
    checkpoint_bytes: int  # of the weights file
    flops_a_view: int  # multiplications and additions of one slice, forward
    training_bytes: int  # of a process: itself, weights, gradients, optimizer, activations


def footprint_of(recipe: Recipe) -> Footprint:
    """Count what a recipe costs. Activations are those that a backward pass needs."""
    with torch.device("meta"):
        network = WmhNetwork(recipe).train()
    parameters = parameter_counts(network)
    num_streams = recipe.schedule.slices_at_once
    activations, flops = _forward(network, recipe, num_streams)
    if recipe.network.encoder.gradient_checkpointing:
        activations += _one_block(recipe, activations)
    weights = parameters.total + parameters.trained * (1 + _OPTIMISER_FLOATS)
    return Footprint(
        parameters=parameters,
        checkpoint_bytes=stored_bytes(network),
        flops_a_view=flops // num_streams,
        training_bytes=_PROCESS_BYTES + _FLOAT_BYTES * weights + int(_BACKWARD * activations),
    )


def require_memory(recipe: Recipe, device: torch.device, processes_here: int) -> None:
    """Refuse a training that will not fit.

    Args:
        recipe: of the training.
        device: that it would run on.
        processes_here: that share its memory.

    Raises:
        RecipeError: it needs more than is free.
    """
    needed = footprint_of(recipe).training_bytes * processes_here
    free = _free_bytes(device)
    if needed > free:
        raise RecipeError(
            f"training needs about {needed / 1e9:.1f} GB on {device}, {free / 1e9:.1f} GB are free",
            "Lower schedule.slices_at_once, or set network.encoder.gradient_checkpointing.",
        )


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _forward(network: WmhNetwork, recipe: Recipe, slices: int) -> tuple[int, int]:
    """Run a forward pass without values; return bytes kept for backward, and operations."""
    kept: dict[int, int] = {}  # by storage: many tensors are views of one

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    size = recipe.preprocessing.size_px
    precision = _AUTOCAST.get(recipe.optimizer.mixed_precision)
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        state = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype).requires_grad_(tensor.requires_grad)
            for name, tensor in network.state_dict(keep_vars=True).items()
        }
        image = torch.empty(slices, len(recipe.channels), size, size)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", dtype=precision, enabled=precision is not None),
        ):
            torch.func.functional_call(network, state, (image,))
        own = {tensor.untyped_storage()._cdata for tensor in state.values()}
    activations = sum(size for storage, size in kept.items() if storage not in own)
    return activations, counter.get_total_flops()


def _one_block(recipe: Recipe, checkpointed: int) -> int:
    """Return what the one block needs whose activations are there at a time, on average."""
    encoder = recipe.network.encoder.model_copy(update={"gradient_checkpointing": False})
    network = recipe.network.model_copy(update={"encoder": encoder})
    plain = recipe.model_copy(update={"network": network})
    with torch.device("meta"):
        built = WmhNetwork(plain).train()
    activations, _ = _forward(built, plain, recipe.schedule.slices_at_once)
    return (activations - checkpointed) // encoder.depth
