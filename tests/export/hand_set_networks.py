"""Networks whose weights are set by hand, and the whole way of a user from them to a bundle.

To find lesions, networks need minutes of training. Here they start from weights that are set by
hand: a path of ones through the finest features, which hands on brightness, and random weights
everywhere else, which change the logits a little. The commands are those of a user.
"""

import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.networks import small_convolutional_recipe
from tests.training_toys import SMALL_RECIPE, metadata_of, write_toml
from wmh_export.cli import main as export
from wmh_train.checkpoint import save_checkpoint
from wmh_train.cli import main as train
from wmh_train.data.split import Split
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import Recipe

# Convolutions from the image to the features before the head, and the input that each hands on.
# The last stage of a decoder joins two inputs: the skip connection is the first of MONAI's U-Net,
# and follows 4 or 8 features of the others.
PATHS = {
    "unet": [("encoder.stages.0.0", 0), ("encoder.stages.0.3", 0), ("decoder.stages.1.0", 4)],
    "monai-unet": [
        ("encoder.stages.0.conv_0.conv", 0),
        ("encoder.stages.0.conv_1.conv", 0),
        ("decoder.stages.3.convs.conv_0.conv", 0),
        ("decoder.stages.3.convs.conv_1.conv", 0),
    ],
    "vgg16-unet": [
        ("encoder.features.0", 0),
        ("encoder.features.3", 0),
        ("decoder.stages.3.0", 8),
        ("decoder.stages.3.3", 0),
    ],
}
COARSE = {"pixel_size_mm": 5.0, "size_px": 48, "clip_percentiles": [0, 100]}
BRIGHT = 1.7  # standard deviations above the mean of the head
STEEPNESS = 6.0  # of the logit
WITHOUT_PYTORCH = (
    "import importlib, sys\n"
    "for name in ('torch', 'onnx', 'onnxscript', 'peft', 'monai'): sys.modules[name] = None\n"
    "module, *sys.argv = sys.argv[1:]\n"
    "importlib.import_module(module).main()\n"
)


def brief_recipe(kind: str, name: str, **preprocessing) -> Recipe:
    """Four steps with a low learning rate: enough for a whole training that changes little."""
    schedule = {"epochs": 1, "warmup_epochs": 0.5, "batch_statistics_epochs": 0}
    return small_convolutional_recipe(
        kind,
        name=name,
        preprocessing=COARSE | preprocessing,
        data={"epoch_slices": 16, "validation_share": 0.3, "test_share": 0.0},
        optimizer={"learning_rate": 1e-4, "mixed_precision": "no"},
        schedule=SMALL_RECIPE["schedule"] | schedule,
    )


def find_bright(recipe: Recipe) -> nn.Module:
    """A network that segments what is bright, in which the weights of all layers matter."""
    torch.manual_seed(0)
    network = build_network(recipe).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                module.bias.normal_(0, 0.1)
        for name, handed_on in PATHS[recipe.network.kind]:
            convolution = network.get_submodule(name)
            center = convolution.kernel_size[0] // 2
            convolution.weight[0] = 0
            convolution.weight[0, handed_on, center, center] = 1
            convolution.bias[0] = 0
        head = network.decoder.head
        head.weight.normal_(0, 0.02)
        head.weight[:, 0] = STEEPNESS
        head.bias[:] = -STEEPNESS * BRIGHT
    return network


def run_without_pytorch(module, *arguments):
    program = [sys.executable, "-c", WITHOUT_PYTORCH, module, "command", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def train_and_build(recipe: Recipe, data, folder) -> tuple:
    """Return the folders of a checkpoint and of its bundle, written by the commands."""
    toml = write_toml(folder / "recipe.toml", recipe.model_dump(mode="json"))
    start, run, bundle = (folder / name for name in ("start", "run", "bundle"))
    nothing_seen = {"split": Split(training=[], validation=[], test=[])}
    metadata = metadata_of(recipe).model_copy(update=nothing_seen)
    save_checkpoint(start, find_bright(recipe), metadata)
    for main, *arguments in (
        (train, "fit", toml, "--data", data, "--from", start, "--out", run),
        (train, "calibrate", run, "--data", data),
        (export, "build", run, "--out", bundle, "--without-int8"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["command", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
    return run, bundle
