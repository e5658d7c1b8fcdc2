"""Train the decoder of the surrogate model on features that are computed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.files.atomic import atomic_path
from wmh_runtime.files.folders import make_writable_folder
from wmh_train.data.cache import CachedSlices
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.loop.schedule import learning_rate
from wmh_train.model.sam_network import SamNetwork
from wmh_train.recipe.recipe import Recipe


class SurrogateListener(Protocol):
    """Receives the progress."""

    def stage(self, name: str, total: int) -> None:
        """Called when a stage with `total` steps starts."""

    def advance(self) -> None:
        """Called after each step of the stage."""

    def note(self, line: str) -> None:
        """Called with a line to print."""


def compute_features(
    network: SamNetwork,
    slices: CachedSlices,
    indices: NDArray[np.int_],
    path: Path,
    listener: SurrogateListener,
) -> NDArray[np.float16]:
    """Return the encoder's features of slices, float16 (n, 256, s, s), memory-mapped.

    The encoder runs in bfloat16, which is twice as fast as float32 on CPUs that support it.

    Args:
        network: with the encoder.
        slices: all training slices.
        indices: (n,), of the slices to encode.
        path: file of the features. If it exists, it is read instead.
        listener: receives the progress.
    """
    listener.stage("encoding", len(indices))
    if path.exists():
        return np.load(path, mmap_mode="r")
    make_writable_folder(path.parent)
    device = next(network.parameters()).device
    features: np.memmap[Any, np.dtype[np.float16]] | None = None
    with (
        atomic_path(path) as temporary,
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16),
    ):
        for i, index in enumerate(indices):
            image = torch.from_numpy(slices.read([index])[0]).to(device)
            encoded = network.encoder(network.adapter(image))
            of_slice = encoded.float().cpu().numpy().astype(np.float16)
            if features is None:
                shape = (len(indices), *of_slice.shape[1:])
                features = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
            features[i] = of_slice[0]
            listener.advance()
        assert features is not None
        features.flush()
    return np.load(path, mmap_mode="r")


def train_decoder(
    network: SamNetwork,
    recipe: Recipe,
    slices: CachedSlices,
    indices: NDArray[np.int_],
    features: NDArray[np.float16],
    listener: SurrogateListener,
) -> float:
    """Train the decoder only, without augmentation.

    Args:
        network: its decoder is changed in place.
        recipe: of the surrogate model.
        slices: all training slices.
        indices: (n,), of the slices to train on.
        features: (n, 256, s, s), from `compute_features`.
        listener: receives the progress.

    Returns:
        The mean loss of the last epoch.
    """
    decoder, loss_of = network.decoder, SegmentationLoss(recipe.loss, len(recipe.outputs))
    device = next(decoder.parameters()).device
    optimizer = torch.optim.AdamW(decoder.parameters(), weight_decay=recipe.optimizer.weight_decay)
    schedule = recipe.schedule
    steps = len(indices) // schedule.batch_size
    listener.stage("training the decoder", schedule.epochs * steps)
    decoder.train()
    losses: list[float] = []
    for epoch in range(schedule.epochs):
        losses = []
        for step, batch in enumerate(_batches(len(indices), steps, schedule.seed, epoch)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps + step, steps, recipe)
            images, targets = (
                torch.from_numpy(array).to(device) for array in slices.read(indices[batch])
            )
            encoded = torch.from_numpy(np.asarray(features[batch], np.float32)).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logits = decoder(encoded, images)
            loss: Tensor = loss_of(logits, targets).total
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), recipe.optimizer.clip_norm)
            optimizer.step()
            losses.append(loss.item())
            listener.advance()
        listener.note(f"epoch {epoch + 1}/{schedule.epochs}: loss {np.mean(losses):.3f}")
    decoder.eval()
    return float(np.mean(losses))


def _batches(count: int, steps: int, seed: int, epoch: int) -> Iterator[NDArray[np.int_]]:
    order = np.random.default_rng([seed, epoch]).permutation(count)
    yield from np.array_split(order[: steps * (count // steps)], steps)
