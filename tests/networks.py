"""Networks whose every parameter matters, and checkpoints of them that nobody trained."""

from pathlib import Path

import numpy as np
import torch

from tests.toys import facts_of, small_recipe
from wmh_runtime.bundle.manifest import Choice
from wmh_runtime.postprocessing.lesions import Output
from wmh_train.checkpoint import CheckpointFacts, SweptCalibration, save_checkpoint
from wmh_train.model.base import BaseIdentity
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe

TWO = {"channels": ["flair", "t1"], "outputs": ["wmh", "stroke"]}


def perturbed(recipe: Recipe, seed: int = 0) -> WmhNetwork:
    """A network of which nothing is zero or one, LoRA's and BatchNorm's parameters included."""
    torch.manual_seed(seed)
    network = WmhNetwork(recipe).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = 0.1 * torch.randn_like(tensor)
                tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    with torch.no_grad():
        network.decoder.fuse[-1].bias.zero_()  # probabilities on both sides of one half
    return network


def padded_recipe() -> Recipe:
    """The small network, but for the windows of its second block, which do not tile the slice."""
    network = small_recipe().network.model_dump()
    network["encoder"] |= {"window_tokens": 3, "global_blocks": [0]}
    return small_recipe(network=network)


def taught(recipe: Recipe) -> WmhNetwork:
    """A perturbed network that has learned to outline what is bright.

    Masks of a random network turn over at the slightest change; those of this one do not.
    """
    return teach(perturbed(recipe), recipe)


def teach(network: WmhNetwork, recipe: Recipe, steps: int = 150) -> WmhNetwork:
    """Let a network learn, in seconds, to outline what is bright, channel by channel."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        image, target = (torch.from_numpy(array) for array in blobs(recipe, 4, rng))
        logits = network(image).fused
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, target, pos_weight=torch.tensor(3.0)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def blobs(recipe: Recipe, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Heads with three bright squares in each channel; channel k shows those of output k."""
    side = recipe.preprocessing.size_px
    shape = (count, len(recipe.channels), side, side)
    rows, columns = np.indices((side, side)) / side - 0.5
    head = np.hypot(rows, columns) < 0.4
    image = head * rng.normal(0, 0.5, shape).astype(np.float32)
    target = np.zeros(shape, np.float32)
    for n, k in np.ndindex(*shape[:2]):
        for row, column in rng.integers(side // 4, 3 * side // 4, (3, 2)):
            size = rng.integers(2, 2 + side // 8)
            image[n, k, row : row + size, column : column + size] += 4
            target[n, k, row : row + size, column : column + size] = 1
    return image, target


def slices_of(recipe: Recipe, count: int = 3) -> np.ndarray:
    side = recipe.preprocessing.size_px
    shape = (count, len(recipe.channels), side, side)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def calibrated_facts_of(recipe: Recipe, base: BaseIdentity | None = None) -> CheckpointFacts:
    outputs = [Output(name=name, threshold=0.5, min_lesion_mm3=0) for name in recipe.outputs]
    halves = [0.5] * len(outputs)
    choice = Choice(views=8, outputs=outputs, mean_dice=halves, mean_lesion_f1=halves)
    calibration = SweptCalibration(choices=[choice], scans=1, lesion_f1_weight=0, surface=[])
    return facts_of(recipe, base).model_copy(update={"calibration": calibration})


def write_checkpoint(folder: Path, recipe: Recipe) -> Path:
    """A calibrated checkpoint of a network that was taught a little."""
    save_checkpoint(folder, taught(recipe), calibrated_facts_of(recipe))
    return folder
