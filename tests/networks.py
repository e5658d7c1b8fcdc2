"""Networks in which all parameters matter, and checkpoints of them."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tests.training_toys import metadata_of, small_recipe
from wmh_runtime.bundle.calibration import OperatingPoint, ReliabilityBin
from wmh_runtime.postprocessing.lesions import Output
from wmh_train.checkpoint import CalibrationWithSweep, CheckpointMetadata, save_checkpoint
from wmh_train.model.convolutional.unet import UNet
from wmh_train.model.network import WmhNetwork, build_network
from wmh_train.model.pretrained import PretrainedIdentity
from wmh_train.model.sam_network import SamNetwork
from wmh_train.recipe.recipe import Recipe

TWO = {"channels": ["flair", "t1"], "outputs": ["wmh", "stroke"]}


def perturbed_network(recipe: Recipe, seed: int = 0) -> WmhNetwork:
    """A network without parameters of exactly 0 or 1, also in LoRA and BatchNorm."""
    torch.manual_seed(seed)
    network = build_network(recipe).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = 0.1 * torch.randn_like(tensor)
                tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    with torch.no_grad():  # probabilities on both sides of one half
        is_sam = isinstance(network, SamNetwork)
        (network.decoder.fuse[-1] if is_sam else network.decoder.head).bias.zero_()
    return network


def small_unet_recipe() -> Recipe:
    """The small recipe with a U-Net."""
    return small_convolutional_recipe("unet")


SMALL_CONVOLUTIONAL = {
    "unet": {"unet": {"widths": [4, 8, 12]}},
    "monai-unet": {"monai_unet": {"widths": [4, 4, 8, 8, 12]}},
    "vgg16-unet": {"vgg16_unet": {"decoder_widths": [16, 8, 8, 4]}},
}


def small_convolutional_recipe(kind: str, **changes) -> Recipe:
    """The small recipe with one of the convolutional networks."""
    network = SMALL_CONVOLUTIONAL[kind]
    return small_recipe(network=network, loss={"scale_weights": []}, **changes)


def small_unet() -> UNet:
    """A U-Net with random weights, for slices of the small recipe."""
    torch.manual_seed(0)
    return build_network(small_unet_recipe()).eval()


def padded_recipe() -> Recipe:
    """The small network, with attention windows in its second block that need padding."""
    network = small_recipe().network.model_dump()
    network["encoder"] |= {"window_tokens": 3, "global_blocks": [0]}
    return small_recipe(network=network)


def briefly_trained(recipe: Recipe) -> WmhNetwork:
    """A perturbed network, trained to segment bright pixels.

    The masks of a random network change at the slightest difference. Those of this network do not.
    """
    return copy.deepcopy(_briefly_trained_once(recipe.model_dump_json()))


@cache
def _briefly_trained_once(recipe_json: str) -> WmhNetwork:
    recipe = Recipe.model_validate_json(recipe_json)
    return train_briefly(perturbed_network(recipe), recipe)


def train_briefly(network: WmhNetwork, recipe: Recipe, steps: int = 150) -> WmhNetwork:
    """Train a network for a few seconds to segment bright pixels, separately in each channel."""
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
    """Heads with three bright squares per channel. The target of output k is those of channel k."""
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


def random_slices(recipe: Recipe, count: int = 3) -> np.ndarray:
    side = recipe.preprocessing.size_px
    shape = (count, len(recipe.channels), side, side)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def calibrated_metadata_of(
    recipe: Recipe, pretrained: PretrainedIdentity | None = None
) -> CheckpointMetadata:
    outputs = [Output(name=name, threshold=0.5, min_lesion_mm3=0) for name in recipe.outputs]
    halves = [0.5] * len(outputs)
    point = OperatingPoint(views=8, outputs=outputs, mean_dice=halves, mean_lesion_f1=halves)
    bins = [ReliabilityBin(voxels=9, mean_probability=0.6, lesion_share=0.85)]
    calibration = CalibrationWithSweep(
        operating_points=[point], scans=1, reliability=[bins], threshold_sweep=[]
    )
    return metadata_of(recipe, pretrained).model_copy(update={"calibration": calibration})


def write_checkpoint(folder: Path, recipe: Recipe) -> Path:
    """Write a calibrated checkpoint of a briefly trained network."""
    save_checkpoint(folder, briefly_trained(recipe), calibrated_metadata_of(recipe))
    return folder
