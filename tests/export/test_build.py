"""Export a checkpoint to a bundle: its files, its parity, and the reasons to leave parts out."""

import json
import shutil
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.networks import (
    briefly_trained,
    calibrated_metadata_of,
    random_slices,
    train_briefly,
    write_checkpoint,
)
from tests.toys import write_annotated_heads, write_head
from tests.training_toys import SMALL_RECIPE, lora_recipe, small_recipe, write_small_pretrained
from wmh_export import build as build_module
from wmh_export import graph_exporter
from wmh_export.build import BundleMetadata, build
from wmh_export.cli import main
from wmh_export.model_card import model_card
from wmh_export.phantom_probes import phantom_probes
from wmh_export.quantization.quantize import Quantizer
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.bundle import parity_record
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.bundle.parity_record import Tolerance
from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.errors import BackendError, ExportError, InputError, RecipeError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.segmenter import SegmentationModel, Segmenter
from wmh_runtime.phantom.cohort import DATA_SET_NAME, Plan, write_phantom
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_train.checkpoint import load_metadata, load_network, save_checkpoint, save_metadata
from wmh_train.model.network import build_network
from wmh_train.model.pretrained import read_pretrained
from wmh_train.torch_backend import TorchBackend

FILES = [
    "1-view.fp16.cuda.onnx",
    "1-view.fp16.onnx",
    "1-view.fp32.onnx",
    "1-view.int8.onnx",
    "8-view.fp16.cuda.onnx",
    "8-view.fp16.onnx",
    "8-view.fp32.onnx",
    "8-view.int8.onnx",
    "MODEL_CARD.md",
    "manifest.json",
    "reference_outputs.npz",
    "weights.fp16.bin",
    "weights.fp32.bin",
    "weights.int8.bin",
]


def ignore(step):
    """Ignore the description of a step."""


def test_the_bundle_is_complete_and_every_precision_within_tolerance(built):
    opened = load_bundle(built.bundle.folder)
    assert sorted(path.name for path in opened.folder.rglob("*") if path.is_file()) == FILES
    assert built.skipped_precisions == []
    for graph in opened.manifest.graphs:
        assert graph.parity
        for measured in graph.parity:
            assert measured.slices == (8 if graph.views == 1 else 2)
            assert measured.violation == ""
            assert measured.emulated == (measured.precision == "fp16")


def test_every_installed_backend_is_measured_in_all_its_precisions(built):
    measured = {
        (p.backend.split()[0], p.precision)
        for graph in built.bundle.manifest.graphs
        for p in graph.parity
    }
    expected = {(name, p) for name in ("onnxruntime", "openvino") for p in ("fp32", "fp16", "int8")}
    if "bf16" in OpenVinoBackend.supported_precisions():
        expected |= {("openvino", "bf16"), ("openvino", "int8+bf16")}
    assert measured == expected


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_the_graphs_agree_with_pytorch(bundle, checkpoint, views, backend):
    checkpoint_metadata = load_metadata(checkpoint)
    network, slices = (
        load_network(checkpoint, checkpoint_metadata),
        random_slices(checkpoint_metadata.recipe),
    )
    with (
        TorchBackend(network, checkpoint_metadata.recipe, views=views) as torch_backend,
        backend.from_bundle(bundle, views=views, batch_size=2) as graph_backend,
    ):
        expected = torch_backend.predict(slices)
        np.testing.assert_allclose(graph_backend.predict(slices), expected, atol=1e-5)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_batch_and_threads_change_probabilities_by_at_most_a_millionth(bundle, backend):
    slices = random_slices(small_recipe(channels=bundle.manifest.channels), count=5)
    results = []
    for batch_size, threads in ((1, 1), (2, 2), (4, 1), (5, 2)):
        with backend.from_bundle(bundle, batch_size=batch_size, threads=threads) as opened:
            results.append(opened.predict(slices))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_a_slice_does_not_depend_on_its_neighbors(bundle, backend):
    slices = random_slices(small_recipe(channels=bundle.manifest.channels), count=5)
    with backend.from_bundle(bundle, batch_size=4) as opened:
        together = opened.predict(slices)
        separately = np.concatenate([opened.predict(slices[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, separately)


def test_two_channels_and_two_outputs(bundle, tmp_path):
    data = write_annotated_heads(tmp_path, 1, channels=("FLAIR", "T1w"), outputs=("WMH", "STROKE"))
    scans = [read_scan(data / f"sub-00_{suffix}.nii.gz") for suffix in ("FLAIR", "T1w")]
    manifest = bundle.manifest
    model = SegmentationModel(manifest.channels, manifest.preprocessing, manifest.outputs)
    with (
        OnnxRuntimeBackend.from_bundle(bundle) as backend,
        Segmenter(model, [backend]) as segmenter,
    ):
        results = segmenter.segment(scans).results
    assert [result.output.name for result in results] == ["wmh", "stroke"]
    assert all(result.lesions.mask.shape == scans[0].shape for result in results)
    assert not np.array_equal(results[0].probability, results[1].probability)


@pytest.mark.exhaustive
def test_the_same_checkpoint_in_another_folder_gives_the_same_bytes(
    bundle, checkpoint, tmp_path, monkeypatch, cached_traces
):
    monkeypatch.setattr(graph_exporter, "trace", cached_traces)  # itself, without the cache
    elsewhere = tmp_path / "another" / "folder"
    shutil.copytree(checkpoint, elsewhere)
    again = build(elsewhere, tmp_path / "again", ignore).bundle
    for file in bundle.manifest.files:
        assert again.path_of(file).read_bytes() == bundle.path_of(file).read_bytes(), file.path
    assert again.manifest.model_id == bundle.manifest.model_id


def refuse(*arguments):
    raise ExportError("not in this test")


@pytest.fixture
def without_fp16(monkeypatch):
    """Do not export float16, to save time."""
    monkeypatch.setattr(graph_exporter.GraphExporter, "export_fp16", refuse)


@pytest.fixture
def float32_only(monkeypatch, without_fp16):
    """Export only float32, to save time."""
    monkeypatch.setattr(graph_exporter.GraphExporter, "export_int8", refuse)
    monkeypatch.setattr(Quantizer, "largest_activation", lambda self: 1.0)


@pytest.mark.exhaustive
def test_a_frozen_encoder_is_exported_with_its_pretrained_weights(tmp_path, float32_only):
    recipe = lora_recipe()
    pretrained = read_pretrained(write_small_pretrained(tmp_path / "pretrained.pth"))
    torch.manual_seed(0)
    network = build_network(recipe, pretrained).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
        network.decoder.fuse[-1].bias.zero_()  # untrained heads predict almost no lesions
    run = tmp_path / "run"
    save_checkpoint(
        run, train_briefly(network, recipe), calibrated_metadata_of(recipe, pretrained.identity)
    )
    with pytest.raises(RecipeError, match=r"pretrained\.pth"):
        build(run, tmp_path / "bundle", ignore)
    bundle = build(run, tmp_path / "bundle", ignore, pretrained=pretrained.path).bundle
    assert {graph.views for graph in bundle.manifest.graphs} == {1, 8}
    assert bundle.graph(views=8, precision="fp32").parity[0].max_abs_difference < 1e-4


def test_default_and_given_name_warning_and_license(checkpoint, tmp_path, float32_only):
    checkpoint_metadata = load_metadata(checkpoint)
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run)
    phantom_provenance = checkpoint_metadata.provenance.model_copy(update={"data": DATA_SET_NAME})
    save_metadata(run, checkpoint_metadata.model_copy(update={"provenance": phantom_provenance}))
    default = build(run, tmp_path / "default", ignore).bundle.manifest
    assert (
        default.warning == "Trained on made-up heads: on scans of patients its masks mean nothing"
    )
    assert default.license == "not stated"
    metadata = BundleMetadata(name="mine", warning="No", license="CC0-1.0")
    named = build(run, tmp_path / "named", ignore, metadata=metadata).bundle.manifest
    assert (named.name, named.warning, named.license) == ("mine", "No", "CC0-1.0")


def test_there_are_float16_graphs_for_cuda_that_share_the_weights(bundle):
    for views in (1, 8):
        plain = bundle.graph(views=views, precision="fp16")
        for_cuda = bundle.graph(views=views, precision="fp16", provider="cuda")
        assert for_cuda.path == f"graphs/{views}-view.fp16.cuda.onnx"
        assert for_cuda.weights == plain.weights
        assert for_cuda.sha256 != plain.sha256
        assert all(parity.emulated and not parity.violation for parity in for_cuda.parity)
    names = [file.path for file in bundle.manifest.files]
    assert len(names) == len(set(names))
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| fp16 for CUDA (emulated) | 8 | onnxruntime" in card


def test_the_model_card_contains_the_measurements(bundle):
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Research use only" in card
    assert "| fp16 (emulated) | 8 | onnxruntime" in card
    assert "INT8 was calibrated on slices, 12 of phantoms" in card
    assert "the expected calibration error is 0.250" in card  # |0.6 − 0.85|, of tests.networks
    assert "| probability | 0.60 |\n| --- | --- |\n| share of lesion | 0.85 |" in card


def test_the_model_card_says_where_the_scans_are_from_and_ends_with_the_notes(bundle):
    training = bundle.manifest.training.model_copy(
        update={
            "training_sites": {"Utrecht": 7, "synthetic": 3},
            "training_scans": 10,
            "new_heads": 30,
            "teacher": Teacher(
                name="large", model_id="3f0c", tta="full", precision="fp32", scans=4
            ),
        }
    )
    manifest = bundle.manifest.model_copy(
        update={"training": training, "notes": "## Where it fails\n\nAt low loads.\n"}
    )
    card = model_card(manifest)
    assert "10 scans for training (Utrecht 7, synthetic 3), " in card
    assert " 4 scans without masks, on which it learned the probabilities of large (" in card
    assert "`3f0c`, fp32, views full). The license of that model may have terms for" in card
    assert "; 30 new synthetic heads in each epoch; " in card
    assert card.endswith("\n\n## Where it fails\n\nAt low loads.\n")


@pytest.mark.exhaustive
def test_a_precision_that_differs_from_the_network_is_left_out_and_reported(
    checkpoint, tmp_path, monkeypatch, run_command
):
    monkeypatch.setitem(parity_record.TOLERANCES, "int8", Tolerance(probability=1e-6))
    status, output, errors = run_command(main, "build", checkpoint, "--out", tmp_path / "bundle")
    assert status == 1
    assert "error: int8: 1-view.int8.onnx differs from the trained network on onnxruntime" in errors
    assert "at most 1e-06 is allowed" in errors
    assert "Bundle" in output
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert {graph.precision for graph in manifest.graphs} == {"fp32", "fp16"}
    assert manifest.quantization is None
    assert not list((tmp_path / "bundle").rglob("*int8*"))


def test_without_int8(checkpoint, tmp_path, run_command):
    call = (main, "build", checkpoint, "--out", tmp_path / "bundle", "--without-int8")
    notes = tmp_path / "notes.md"
    notes.write_bytes(b"\xff")
    status, _, errors = run_command(*call, "--notes", notes)
    assert (status, "notes.md: cannot be read (not UTF-8)" in errors) == (2, True)
    notes.write_text("Fails at low loads.")
    status, _, errors = run_command(*call, "--notes", notes)
    assert status == 0, errors
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert {graph.precision for graph in manifest.graphs} == {"fp32", "fp16"}
    assert (manifest.quantization, manifest.skipped_precisions) == (None, [])
    assert manifest.notes == "Fails at low loads."


def test_int8_is_left_out_if_the_search_finds_nothing(checkpoint, tmp_path, monkeypatch):
    fp32_outputs = graph_exporter.GraphExporter._fp32_outputs

    def no_lesions(self, probes):
        reference = fp32_outputs(self, probes)
        return replace(reference, probability={1: reference.probability[1] * 0})

    monkeypatch.setattr(graph_exporter.GraphExporter, "_fp32_outputs", no_lesions)
    built = build(checkpoint, tmp_path / "bundle", ignore)
    (reason,) = built.skipped_precisions
    assert reason.startswith("int8: the network finds nothing in the slices of the search")


def test_a_failure_of_openvino_is_only_a_warning(checkpoint, tmp_path, monkeypatch, float32_only):
    def fail(self, batch):
        raise BackendError("no such operator")

    monkeypatch.setattr(OpenVinoBackend, "_execute", fail)
    built = build(checkpoint, tmp_path / "bundle", ignore)
    assert "1-view.fp32.onnx on openvino: no such operator" in built.warnings
    assert {p.library for g in built.bundle.manifest.graphs for p in g.parity} == {"onnxruntime"}


def test_bf16_beyond_tolerance_is_a_warning_and_float32_is_kept(
    checkpoint, tmp_path, monkeypatch, run_command, float32_only
):
    if "bf16" not in OpenVinoBackend.supported_precisions():
        pytest.skip("this CPU has no bfloat16")
    monkeypatch.setitem(parity_record.TOLERANCES, "bf16", Tolerance(probability=1e-6))
    built = build(checkpoint, tmp_path / "bundle", ignore)
    assert {graph.precision for graph in built.bundle.manifest.graphs} == {"fp32"}
    assert [reason.split(" on ")[0] for reason in built.warnings] == [
        "graphs/1-view.fp32.onnx in bf16",
        "graphs/8-view.fp32.onnx in bf16",
    ]
    beyond = [
        p.precision for graph in built.bundle.manifest.graphs for p in graph.parity if p.violation
    ]
    assert beyond == ["bf16", "bf16"]  # recorded as measured
    command = ("verify", built.bundle.folder, "--backend", "openvino")
    status, _, errors = run_command(main, *command)
    assert status == 0  # the manifest contains these violations
    assert errors.count("as the manifest says") == 2


def test_no_bundle_if_a_float32_graph_differs_from_the_network(checkpoint, tmp_path, monkeypatch):
    correct = graph_exporter.with_eight_views
    monkeypatch.setattr(
        graph_exporter, "with_eight_views", lambda model: swap_rotations(correct(model))
    )
    with pytest.raises(ExportError, match=r"8-view\.fp32\.onnx differs .*: probability"):
        build(checkpoint, tmp_path / "bundle", ignore)
    assert list(tmp_path.iterdir()) == []


def swap_rotations(model):
    """Undo a rotation by 90° as if it were by 270°, and vice versa: a common mistake."""
    # The flips that undo the views, in the order of the views: rows, columns, both; then those of
    # the transposed views: rows (90°), columns (270°), both.
    flips = [n for n in model.graph.node if n.name.startswith("averaging/Slice")]
    axes = [flip.input[3] for flip in flips]
    assert axes[:3] == axes[3:]
    flips[3].input[3], flips[4].input[3] = axes[4], axes[3]
    return model


def test_no_bundle_if_lora_is_not_merged(tmp_path, monkeypatch):
    def merge_without_lora(network):
        for module in network.encoder.modules():
            if hasattr(module, "scaling"):
                module.scaling["default"] = 0.0
        return merge(network)

    merge = build_module.merge
    monkeypatch.setattr(build_module, "merge", merge_without_lora)
    network = small_recipe().network.model_dump()
    network["encoder"]["trained"] = False
    network["lora"] = {"ranks": {"qkv": 4, "lin1": 2}}
    recipe = small_recipe(network=network)
    run = tmp_path / "run"
    save_checkpoint(run, briefly_trained(recipe), calibrated_metadata_of(recipe))
    with pytest.raises(ExportError, match=r"the merged network differs .*: probability"):
        build(run, tmp_path / "bundle", ignore)


@pytest.mark.exhaustive
def test_a_network_with_one_channel_is_also_compared_on_scans(tmp_path, without_fp16):
    run = write_checkpoint(tmp_path / "run", small_recipe())
    plan = Plan("sub-01", seed=1, site="singapore", load_ml=40)
    with coarse_phantoms():
        write_phantom(plan, tmp_path / "scans")  # in place of a patient's scan
    built = build(run, tmp_path / "bundle", ignore, scans=plan.scan_path(tmp_path / "scans"))
    manifest = built.bundle.manifest
    for graph in manifest.graphs:
        assert {p.data for p in graph.parity} == {"phantoms", "scans"}
    # Of 12 slices, every other one is for calibration; the rest measure parity.
    assert manifest.quantization.calibration_slices == {"phantoms": 12, "scans": 6}
    assert {p.slices for p in manifest.graphs[0].parity if p.data == "scans"} == {6}
    # The bundle contains slices of phantoms only.
    assert len(load_reference_outputs(built.bundle).probes) == 8


def test_scans_without_lesions_are_only_a_warning(tmp_path, float32_only):
    run = write_checkpoint(tmp_path / "run", small_recipe())
    scan = write_head(tmp_path / "a_FLAIR.nii.gz", lesions=0)
    built = build(run, tmp_path / "bundle", ignore, scans=scan)
    assert "parity is measured on phantoms only" in built.warnings[0]
    assert {p.data for g in built.bundle.manifest.graphs for p in g.parity} == {"phantoms"}


def test_a_network_that_finds_nothing_in_phantoms_is_exported_with_scans(
    tmp_path, monkeypatch, float32_only
):
    run = write_checkpoint(tmp_path / "run", small_recipe())

    def faint_phantoms(*arguments):
        probes = phantom_probes(*arguments)
        faint = (probes.slices * 0.5).astype(np.float16)  # which is how they are stored
        return replace(probes, slices=faint.astype(np.float32))

    monkeypatch.setattr(build_module, "phantom_probes", faint_phantoms)
    with pytest.raises(BackendError, match=r"no lesion in the phantoms .* with scans that show"):
        build(run, tmp_path / "refused", ignore)
    plan = Plan("sub-01", seed=1, site="singapore", load_ml=40)
    with coarse_phantoms():
        write_phantom(plan, tmp_path / "scans")
    scans = plan.scan_path(tmp_path / "scans")
    built = build(run, tmp_path / "bundle", ignore, scans=scans)
    assert "finds no lesion in the phantoms: there, masks are compared at a" in built.warnings[0]
    bundle = built.bundle
    assert bundle.manifest.thresholds["wmh"] > load_reference_outputs(bundle).thresholds["wmh"]
    for parity in bundle.manifest.graphs[0].parity:
        assert parity.outputs[0].is_compared, parity.data
        assert parity.precision != "fp32" or not parity.violation


def test_a_checkpoint_without_calibration_is_rejected(checkpoint, tmp_path):
    checkpoint_metadata = load_metadata(checkpoint)
    uncalibrated = tmp_path / "uncalibrated"
    uncalibrated.mkdir()
    save_metadata(uncalibrated, checkpoint_metadata.model_copy(update={"calibration": None}))
    with pytest.raises(ExportError, match=r"is not calibrated.*wmh-train calibrate"):
        build(uncalibrated, tmp_path / "out", ignore)


def test_a_recipe_that_needs_a_missing_library_is_refused(tmp_path, monkeypatch):
    settings = SMALL_RECIPE["preprocessing"] | {"bias_correction": "n4"}
    metadata = calibrated_metadata_of(small_recipe(preprocessing=settings))
    (tmp_path / "run").mkdir()
    save_metadata(tmp_path / "run", metadata)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match="needs the library SimpleITK, which is not installed"):
        build(tmp_path / "run", tmp_path / "out" / "bundle", ignore)
    assert not (tmp_path / "out").exists()


def test_every_normalization_is_explained_in_the_graph():
    kinds = get_args(Preprocessing.model_fields["normalization"].annotation)
    assert set(build_module._SCALES) == set(kinds)


def test_an_existing_bundle_is_not_replaced(bundle, checkpoint):
    with pytest.raises(ExportError, match="already exists"):
        build(checkpoint, bundle.folder, ignore)


def test_the_manifest_is_plain_json(bundle):
    manifest = json.loads((bundle.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema_version"] == 3
    assert {graph["precision"] for graph in manifest["graphs"]} == {"fp32", "fp16", "int8"}


def test_the_model_card_has_a_row_for_each_stage(bundle):
    stage = {"training_scans": 8, "validation_scans": 2, "validation": {"mean": 0.5, "by_site": {}}}
    stages = [
        stage | {"name": "bronze", "data": "outliers + mixture", "frozen_layers": 0},
        stage | {"name": "gold", "data": "expert", "frozen_layers": 10},
    ]
    training = bundle.manifest.training
    details = training.details | {"stages": stages}
    training = training.model_copy(update={"details": details})
    card = model_card(bundle.manifest.model_copy(update={"training": training}))
    assert "| bronze | outliers + mixture | 8 | 2 | 0 | 0.500 |" in card
    assert "| gold | expert | 8 | 2 | 10 | 0.500 |" in card
    assert "Trained in stages" not in model_card(bundle.manifest)
