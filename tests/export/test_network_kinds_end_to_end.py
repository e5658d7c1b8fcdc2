"""Every convolutional network goes the whole way: train, calibrate, export, segment, verify."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.export.hand_set_networks import brief_recipe, run_without_pytorch, train_and_build
from tests.networks import SMALL_CONVOLUTIONAL
from wmh_export.cli import main as export
from wmh_export.model_card import model_card
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.segmenter import SegmentationModel, Segmenter
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_train.checkpoint import load_metadata, load_network
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with coarse_phantoms():
        write_cohort(plan_cohort(4, 5, (20, 40)), folder, workers=1, on_written=lambda: None)
    return folder


FIRST, *OTHERS = SMALL_CONVOLUTIONAL


@pytest.fixture(
    scope="module",
    params=[FIRST, *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in OTHERS)],
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def exported(kind, phantoms, tmp_path_factory):
    """The folders of a checkpoint and of its bundle."""
    return train_and_build(brief_recipe(kind, kind), phantoms, tmp_path_factory.mktemp(kind))


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
    done = run_without_pytorch(
        "wmh_runtime.cli.infer.main", scan, tmp_path / "out", "--bundle", bundle
    )
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
