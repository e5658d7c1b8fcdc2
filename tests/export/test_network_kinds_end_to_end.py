"""Every convolutional network goes the whole way: train, calibrate, export, segment, verify.

To find lesions, such networks need minutes of training. Here they start from weights that are set
by hand: a path of ones through the finest features, which hands on brightness, and random weights
everywhere else, which change the logits a little. The commands are those of a user.
"""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from tests.coarse_phantoms import coarse_phantoms
from tests.networks import SMALL_CONVOLUTIONAL, small_convolutional_recipe
from tests.training_toys import SMALL_RECIPE, metadata_of, write_toml
from wmh_export.cli import main as export
from wmh_export.model_card import model_card
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.segmenter import SegmentationModel, Segmenter
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_train.checkpoint import load_metadata, load_network, save_checkpoint
from wmh_train.cli import main as train
from wmh_train.data.split import Split
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend

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
BRIGHT = 1.7  # standard deviations above the mean of the head
STEEPNESS = 6.0  # of the logit
WITHOUT_PYTORCH = (
    "import importlib, sys\n"
    "for name in ('torch', 'onnx', 'onnxscript', 'peft', 'monai'): sys.modules[name] = None\n"
    "module, *sys.argv = sys.argv[1:]\n"
    "importlib.import_module(module).main()\n"
)


def recipe_of(kind) -> Recipe:
    """Four steps with a low learning rate: enough for a whole training that changes little."""
    schedule = {"epochs": 1, "warmup_epochs": 0.5, "batch_statistics_epochs": 0}
    return small_convolutional_recipe(
        kind,
        name=kind,
        preprocessing={"pixel_size_mm": 5.0, "size_px": 48, "clip_percentiles": [0, 100]},
        data={"epoch_slices": 16, "validation_share": 0.3, "test_share": 0.0},
        optimizer={"learning_rate": 1e-4, "mixed_precision": "no"},
        schedule=SMALL_RECIPE["schedule"] | schedule,
    )


def find_bright(kind) -> nn.Module:
    """A network that segments what is bright, in which the weights of all layers matter."""
    torch.manual_seed(0)
    network = build_network(recipe_of(kind)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                module.bias.normal_(0, 0.1)
        for name, handed_on in PATHS[kind]:
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


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with coarse_phantoms():
        write_cohort(plan_cohort(4, 5, (20, 40)), folder, workers=1, on_written=lambda: None)
    return folder


@pytest.fixture(scope="module", params=SMALL_CONVOLUTIONAL)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def exported(kind, phantoms, tmp_path_factory):
    """The folders of a checkpoint and of its bundle, written by the commands."""
    folder = tmp_path_factory.mktemp(kind)
    recipe = recipe_of(kind)
    toml = write_toml(folder / "recipe.toml", recipe.model_dump(mode="json"))
    start, run, bundle = (folder / name for name in ("start", "run", "bundle"))
    nothing_seen = {"split": Split(training=[], validation=[], test=[])}
    metadata = metadata_of(recipe).model_copy(update=nothing_seen)
    save_checkpoint(start, find_bright(kind), metadata)
    for main, *arguments in (
        (train, "fit", toml, "--data", phantoms, "--from", start, "--out", run),
        (train, "calibrate", run, "--data", phantoms),
        (export, "build", run, "--out", bundle, "--without-int8"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["command", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
    return run, bundle


def test_the_manifest_says_which_network_it_is_and_how_it_was_trained(kind, exported):
    run, folder = exported
    manifest = load_bundle(folder).manifest
    checkpoint = load_metadata(run)
    recipe = Recipe.model_validate(
        manifest.training.details["recipe"] | {"preprocessing": manifest.preprocessing}
    )
    assert recipe == checkpoint.recipe
    assert (manifest.name, recipe.network.kind) == (kind, kind)
    assert f"| network | {kind} |" in model_card(manifest)
    assert manifest.training.parameters == checkpoint.provenance.parameters
    assert manifest.training.trained_parameters == manifest.training.parameters
    assert (manifest.training.training_scans, manifest.training.validation_scans) == (3, 1)
    assert manifest.training.details["initial_weights"].endswith("start")


def test_both_precisions_are_exported_within_tolerance(exported):
    manifest = load_bundle(exported[1]).manifest
    assert manifest.skipped_precisions == []
    assert {(graph.precision, graph.views) for graph in manifest.graphs} == {
        (precision, views) for precision in ("fp32", "fp16") for views in (1, 8)
    }
    for graph in manifest.graphs:
        for parity in graph.parity:
            if parity.precision == graph.precision:  # bfloat16 is only on some machines
                assert parity.outputs[0].reference_ml > 1  # two empty masks would prove nothing
                assert parity.mask_dice > 0.999
                assert parity.max_abs_difference < {"fp32": 1e-5, "fp16": 1e-2}[parity.precision]


def test_the_float32_graph_and_pytorch_find_the_same_voxels(exported, phantoms):
    """In eight views: none of 345,600 voxels differed, and five may. 1,000 or more are lesion."""
    run, folder = exported
    bundle, checkpoint = load_bundle(folder), load_metadata(run)
    network = load_network(run, checkpoint)
    scan = read_scan(phantoms / "sub-5000_FLAIR.nii.gz")
    manifest = bundle.manifest
    model = SegmentationModel(manifest.channels, manifest.preprocessing, manifest.outputs)
    masks, probabilities = [], []
    for backend in (
        TorchBackend(network, checkpoint.recipe, views=8),
        OnnxRuntimeBackend.from_bundle(bundle, views=8, precision="fp32"),
    ):
        with backend, Segmenter(model, [backend]) as segmenter:
            result = segmenter.segment(scan)["wmh"]
        masks.append(result.lesions.mask)
        probabilities.append(result.probability)
    assert masks[0].sum() > 1000
    assert np.count_nonzero(masks[0] != masks[1]) <= 5
    np.testing.assert_allclose(probabilities[1], probabilities[0], atol=1e-4)


def test_the_bundle_segments_and_verifies_without_pytorch(exported, phantoms, tmp_path):
    _, bundle = exported
    scan = phantoms / "sub-5000_FLAIR.nii.gz"
    done = run_without_pytorch("wmh_runtime.cli.infer", scan, tmp_path / "out", "--bundle", bundle)
    assert done.returncode == 0, done.stderr
    (mask,) = (tmp_path / "out").rglob("*_label-WMH_mask.nii.gz")
    assert np.asarray(nib.load(mask).dataobj).sum() > 100
    done = run_without_pytorch("wmh_export.cli", "verify", bundle)
    assert done.returncode == 0, done.stderr
    assert "comparisons within tolerance" in done.stdout


def test_verify_refuses_exchanged_weights(exported, tmp_path, run_command):
    """By their hash; and if the manifest has their hash, by what they compute."""
    _, original = exported
    bundle = tmp_path / "bundle"
    shutil.copytree(original, bundle)
    weights = bundle / "graphs" / "weights.fp32.bin"
    values = np.fromfile(weights, np.float32)
    values[len(values) // 2 :] *= 1.5
    weights.write_bytes(values.tobytes())
    status, _, errors = run_command(export, "verify", bundle)
    assert (status, "weights.fp32.bin: has SHA-256" in errors) == (2, True)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for file in manifest["weights"]:
        file["sha256"] = sha256_file(bundle / file["path"])
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    status, _, errors = run_command(export, "verify", bundle)
    assert (status, "fp32 on onnxruntime" in errors) == (1, True)
