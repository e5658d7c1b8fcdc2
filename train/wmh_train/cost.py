"""Estimate the cost of a recipe before training: parameters, operations, memory, checkpoint size.

The network is built on PyTorch's `meta` device and runs once on tensors that have a shape but no
values. So this takes only seconds on a laptop, even for ViT-H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from wmh_runtime.errors import RecipeError
from wmh_runtime.machine import free_bytes
from wmh_train.checkpoint import stored_bytes
from wmh_train.model.network import (
    ParameterCounts,
    WmhNetwork,
    build_network,
    parameter_counts,
)
from wmh_train.recipe.network import EncoderSettings
from wmh_train.recipe.recipe import Recipe

_FLOAT_BYTES = 4
_OPTIMIZER_FLOATS = 2  # the two moments of AdamW, per trained parameter
# Fitted to the peak memory of training steps in benchmarks/README.md.
_PROCESS_BYTES = 750_000_000  # PyTorch, its libraries and working memory
_BACKWARD_FACTOR = 1.4  # peak of activations and their gradients, relative to the activations
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Footprint:
    """Cost of a recipe."""

    parameters: ParameterCounts
    checkpoint_bytes: int  # size of the weights file
    flops_per_view: int  # of the exported network, as `wmh-bench` counts them: one slice, one view
    training_bytes: int  # per process: PyTorch, weights, gradients, optimizer, activations


def estimate_footprint(recipe: Recipe) -> Footprint:
    """Estimate the cost of a recipe."""
    with torch.device("meta"):
        network = build_network(recipe).train()
    parameters = parameter_counts(network)
    slices = recipe.schedule.micro_batch_size
    activations, _ = _forward_cost(network, recipe, slices)
    encoder = recipe.network.encoder
    if encoder is not None and encoder.gradient_checkpointing:
        activations += _block_activations(recipe, encoder, activations)
    floats = parameters.total + parameters.trained * (1 + _OPTIMIZER_FLOATS)
    weights_bytes = _FLOAT_BYTES * floats  # with gradients and moments
    return Footprint(
        parameters=parameters,
        checkpoint_bytes=stored_bytes(network),
        flops_per_view=_exported_flops(recipe),
        training_bytes=_PROCESS_BYTES + weights_bytes + int(_BACKWARD_FACTOR * activations),
    )


def require_memory(recipe: Recipe, device: torch.device, processes_per_device: int) -> None:
    """Raise an error if a training does not fit into the free memory.

    Args:
        recipe: recipe of the training.
        device: device of the training.
        processes_per_device: number of processes that share the memory.

    Raises:
        RecipeError: the training needs more memory than is free.
    """
    needed = estimate_footprint(recipe).training_bytes * processes_per_device
    free = _free_bytes(device)
    if needed > free:
        raise RecipeError(
            f"training needs about {needed / 1e9:.1f} GB on {device}, {free / 1e9:.1f} GB are free",
            "Reduce schedule.micro_batch_size, or set network.encoder.gradient_checkpointing.",
        )


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_bytes()


def _forward_cost(network: WmhNetwork, recipe: Recipe, slices: int) -> tuple[int, int]:
    """Run a forward pass without values; return bytes kept for backward, and operations."""
    kept: dict[int, int] = {}  # bytes by storage, since several tensors may share one

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    precision = _AUTOCAST.get(recipe.optimizer.mixed_precision)
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        state = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype).requires_grad_(tensor.requires_grad)
            for name, tensor in network.state_dict(keep_vars=True).items()
        }
        image = torch.empty(slices, *recipe.network_shape.input_shape)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", dtype=precision, enabled=precision is not None),
        ):
            torch.func.functional_call(network, state, (image,))
        weights = {tensor.untyped_storage()._cdata for tensor in state.values()}
    activations = sum(size for storage, size in kept.items() if storage not in weights)
    return activations, counter.get_total_flops()


def _exported_flops(recipe: Recipe) -> int:
    """Count the multiplications and additions of one view in the exported network.

    There LoRA is merged into the weights, and only real tokens are projected, although attention
    windows are padded.
    """
    merged = recipe.model_copy(update={"network": recipe.network.model_copy(update={"lora": None})})
    with torch.device("meta"):
        network = build_network(merged).eval()
    _, flops = _forward_cost(network, merged, slices=1)
    encoder = recipe.network.encoder
    if encoder is None:
        return flops
    side = recipe.preprocessing.size_px // encoder.patch_px
    padded_side = -(-side // encoder.window_tokens) * encoder.window_tokens
    windowed_blocks = encoder.depth - len(encoder.global_blocks)
    projections = 4 * encoder.width**2  # of a token to query, key and value, and from attention
    return flops - 2 * windowed_blocks * (padded_side**2 - side**2) * projections


def _block_activations(recipe: Recipe, encoder: EncoderSettings, checkpointed: int) -> int:
    """Return the bytes of activations of one block, on average.

    With gradient checkpointing, the activations of one block at a time are in memory.

    Args:
        recipe: recipe with gradient checkpointing.
        encoder: of the recipe.
        checkpointed: bytes of activations that gradient checkpointing keeps.
    """
    without = encoder.model_copy(update={"gradient_checkpointing": False})
    network = recipe.network.model_copy(update={"encoder": without})
    plain = recipe.model_copy(update={"network": network})
    with torch.device("meta"):
        built = build_network(plain).train()
    activations, _ = _forward_cost(built, plain, recipe.schedule.micro_batch_size)
    return (activations - checkpointed) // encoder.depth
