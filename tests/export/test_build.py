"""From a checkpoint to a bundle: what is in it, what is kept out of it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.networks import calibrated_facts_of, slices_of, taught, teach, write_checkpoint
from tests.toys import (
    lora_recipe,
    small_recipe,
    write_annotated_heads,
    write_head,
    write_small_base,
)
from wmh_export import build as build_module
from wmh_export import graph_writer
from wmh_export.build import Naming, build
from wmh_export.cli import main
from wmh_export.quantization.quantize import Quantizer
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.bundle import parity_record
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.bundle.parity_record import Bound
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.errors import BackendError, ExportError, RecipeError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.phantom.cohort import DATA_SET_NAME, Plan, write_phantom
from wmh_train.checkpoint import load_facts, load_network, save_checkpoint, save_facts
from wmh_train.model.base import read_base
from wmh_train.model.network import WmhNetwork
from wmh_train.torch_backend import TorchBackend

FILES = [
    "1-view.fp16.onnx",
    "1-view.fp32.onnx",
    "1-view.int8.onnx",
    "8-view.fp16.onnx",
    "8-view.fp32.onnx",
    "8-view.int8.onnx",
    "MODEL_CARD.md",
    "reference_outputs.npz",
    "manifest.json",
    "weights.fp16.bin",
    "weights.fp32.bin",
    "weights.int8.bin",
]


def silent(step):
    """Nobody is told."""


def test_the_bundle_is_whole_and_every_precision_within_its_bound(built):
    opened = open_bundle(built.bundle.folder)
    assert sorted(path.name for path in opened.folder.rglob("*") if path.is_file()) == FILES
    assert built.refused == []
    for graph in opened.manifest.graphs:
        assert graph.parity
        for measured in graph.parity:
            assert measured.slices == (8 if graph.views == 1 else 2)
            assert measured.shortfall == ""
            assert measured.emulated == (measured.precision == "fp16")


def test_every_backend_at_hand_was_asked_in_every_precision_it_has(built):
    asked = {
        (p.backend.split()[0], p.precision)
        for graph in built.bundle.manifest.graphs
        for p in graph.parity
    }
    expected = {(name, p) for name in ("onnxruntime", "openvino") for p in ("fp32", "fp16", "int8")}
    if "bf16" in OpenVinoBackend.precisions_here():
        expected |= {("openvino", "bf16"), ("openvino", "int8+bf16")}
    assert asked == expected


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_the_graphs_agree_with_pytorch(bundle, checkpoint, views, backend):
    facts = load_facts(checkpoint)
    network, slices = load_network(checkpoint, facts), slices_of(facts.recipe)
    with (
        TorchBackend(network, facts.recipe, views=views) as expected,
        backend.of_bundle(bundle, views=views, batch_size=2) as found,
    ):
        np.testing.assert_allclose(found.predict(slices), expected.predict(slices), atol=1e-5)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_batch_and_threads_change_probabilities_by_at_most_a_millionth(bundle, backend):
    slices = slices_of(small_recipe(channels=bundle.manifest.channels), count=5)
    results = []
    for batch_size, threads in ((1, 1), (2, 2), (4, 1), (5, 2)):
        with backend.of_bundle(bundle, batch_size=batch_size, threads=threads) as opened:
            results.append(opened.predict(slices))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_a_slice_does_not_depend_on_its_neighbors(bundle, backend):
    slices = slices_of(small_recipe(channels=bundle.manifest.channels), count=5)
    with backend.of_bundle(bundle, batch_size=4) as opened:
        together = opened.predict(slices)
        alone = np.concatenate([opened.predict(slices[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_two_channels_and_two_outputs_go_from_recipe_to_mask(bundle, tmp_path):
    data = write_annotated_heads(tmp_path, 1, channels=("FLAIR", "T1w"), outputs=("WMH", "STROKE"))
    scans = [read_scan(data / f"sub-00_{suffix}.nii.gz") for suffix in ("FLAIR", "T1w")]
    manifest = bundle.manifest
    with OnnxRuntimeBackend.of_bundle(bundle) as backend:
        results = (
            Segmenter(manifest.preprocessing, manifest.outputs, backend).segment(*scans).results
        )
    assert [result.output.name for result in results] == ["wmh", "stroke"]
    assert all(result.lesions.mask.shape == scans[0].shape for result in results)
    assert not np.array_equal(results[0].probability, results[1].probability)


def test_the_same_checkpoint_in_another_folder_gives_the_same_bytes(bundle, checkpoint, tmp_path):
    elsewhere = tmp_path / "another" / "folder"
    shutil.copytree(checkpoint, elsewhere)
    again = build(elsewhere, tmp_path / "again", silent).bundle
    for file in bundle.manifest.files:
        assert again.path_of(file).read_bytes() == bundle.path_of(file).read_bytes(), file.path
    assert again.manifest.model_id == bundle.manifest.model_id


@pytest.fixture
def float32_alone(monkeypatch):
    """The other precisions refused, where they do not matter and would take time."""

    def refuse(*arguments):
        raise ExportError("not now")

    monkeypatch.setattr(graph_writer.GraphWriter, "int8", refuse)
    monkeypatch.setattr(graph_writer.GraphWriter, "fp16", refuse)
    monkeypatch.setattr(Quantizer, "largest_activation", lambda self: 1.0)


def test_a_frozen_encoder_is_exported_with_its_base_and_with_no_other(tmp_path, float32_alone):
    recipe = lora_recipe()
    base = read_base(write_small_base(tmp_path / "base.pth"))
    torch.manual_seed(0)
    network = WmhNetwork(recipe, base).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
        network.decoder.fuse[-1].bias.zero_()  # untrained heads expect next to no lesion
    run = tmp_path / "run"
    save_checkpoint(run, teach(network, recipe), calibrated_facts_of(recipe, base.identity))
    with pytest.raises(RecipeError, match=r"was trained on base\.pth, which it does not hold"):
        build(run, tmp_path / "bundle", silent)
    made = build(run, tmp_path / "bundle", silent, base=base.path).bundle
    assert {graph.views for graph in made.manifest.graphs} == {1, 8}
    assert made.graph(views=8, precision="fp32").parity[0].max_abs_difference < 1e-4


def test_what_was_learned_from_phantoms_says_so_and_a_license_is_not_invented(
    checkpoint, tmp_path, float32_alone
):
    facts = load_facts(checkpoint)
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run)
    of_phantoms = facts.provenance.model_copy(update={"data": DATA_SET_NAME})
    save_facts(run, facts.model_copy(update={"provenance": of_phantoms}))
    made = build(run, tmp_path / "silent", silent).bundle.manifest
    assert made.warning == "Trained on made-up heads: on scans of patients its masks mean nothing"
    assert made.license == "not stated"
    naming = Naming(name="mine", warning="No", license="CC0-1.0")
    said = build(run, tmp_path / "said", silent, naming=naming).bundle.manifest
    assert (said.name, said.warning, said.license) == ("mine", "No", "CC0-1.0")


def test_the_card_says_what_was_measured(bundle):
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Research use only" in card
    assert "| fp16 (emulated) | 8 | onnxruntime" in card
    assert "INT8 was calibrated on slices, 12 of phantoms" in card


def test_a_precision_that_is_not_the_network_is_left_out_and_said(
    checkpoint, tmp_path, monkeypatch, run_command
):
    monkeypatch.setitem(parity_record.BOUNDS, "int8", Bound(probability=1e-6))
    status, said, errors = run_command(main, "build", checkpoint, "--out", tmp_path / "bundle")
    assert status == 1
    assert "error: int8: 1-view.int8.onnx is not the network on onnxruntime" in errors
    assert "at most 1e-06 is allowed" in errors
    assert "Bundle" in said
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert {graph.precision for graph in manifest.graphs} == {"fp32", "fp16"}
    assert manifest.quantization is None
    assert not list((tmp_path / "bundle").rglob("*int8*"))


def test_int8_can_be_left_out(checkpoint, tmp_path, run_command):
    call = (main, "build", checkpoint, "--out", tmp_path / "bundle", "--without-int8")
    status, _, errors = run_command(*call)
    assert status == 0, errors
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert {graph.precision for graph in manifest.graphs} == {"fp32", "fp16"}
    assert (manifest.quantization, manifest.refused) == (None, [])


def test_where_the_search_finds_no_lesion_int8_is_left_out(checkpoint, tmp_path, monkeypatch):
    fp32 = graph_writer.GraphWriter._answers_of_fp32

    def nothing(self, questions):
        answers = fp32(self, questions)
        return replace(answers, probability={1: answers.probability[1] * 0})

    monkeypatch.setattr(graph_writer.GraphWriter, "_answers_of_fp32", nothing)
    built = build(checkpoint, tmp_path / "bundle", silent)
    (reason,) = built.refused
    assert reason.startswith("int8: the network finds no lesion in the heads of the search")


def test_an_openvino_that_fails_is_said_and_decides_nothing(
    checkpoint, tmp_path, monkeypatch, float32_alone
):
    def fail(self, batch):
        raise BackendError("no such operator")

    monkeypatch.setattr(OpenVinoBackend, "_execute", fail)
    built = build(checkpoint, tmp_path / "bundle", silent)
    assert "1-view.fp32.onnx on openvino: no such operator" in built.warnings
    assert {p.library for g in built.bundle.manifest.graphs for p in g.parity} == {"onnxruntime"}


def test_bf16_that_is_not_the_network_is_said_and_float32_stays(
    checkpoint, tmp_path, monkeypatch, run_command
):
    if "bf16" not in OpenVinoBackend.precisions_here():
        pytest.skip("this processor has no bfloat16")
    monkeypatch.setitem(parity_record.BOUNDS, "bf16", Bound(probability=1e-6))
    built = build(checkpoint, tmp_path / "bundle", silent)
    assert built.refused == []
    assert [reason.split(" on ")[0] for reason in built.warnings] == [
        "graphs/1-view.fp32.onnx in bf16",
        "graphs/8-view.fp32.onnx in bf16",
    ]
    beyond = [
        p.precision for graph in built.bundle.manifest.graphs for p in graph.parity if p.shortfall
    ]
    assert beyond == ["bf16", "bf16"]  # recorded as it was measured
    command = ("verify", built.bundle.folder, "--backend", "openvino")
    status, _, errors = run_command(main, *command)
    assert status == 0  # what the manifest says already is no news
    assert errors.count("as the manifest says") == 2


def test_a_float32_graph_that_is_not_the_network_is_no_bundle(checkpoint, tmp_path, monkeypatch):
    right = graph_writer.with_eight_views
    monkeypatch.setattr(
        graph_writer, "with_eight_views", lambda model: wrong_way_back(right(model))
    )
    with pytest.raises(ExportError, match=r"8-view\.fp32\.onnx is not the network.*probability"):
        build(checkpoint, tmp_path / "bundle", silent)
    assert list(tmp_path.iterdir()) == []


def wrong_way_back(model):
    """A rotation by 90° undone as if it were one by 270°: the classic mistake."""
    # Flips on the way back, in the order of the views: rows, columns, both; then, of those that
    # were transposed, rows (90°), columns (270°), both.
    flips = [n for n in model.graph.node if n.name.startswith("averaging/Slice")]
    axes = [flip.input[3] for flip in flips]
    assert axes[:3] == axes[3:]
    flips[3].input[3], flips[4].input[3] = axes[4], axes[3]
    return model


def test_a_merge_that_was_forgotten_is_no_bundle(tmp_path, monkeypatch):
    def forgetting(network):
        for module in network.encoder.modules():
            if hasattr(module, "scaling"):
                module.scaling["default"] = 0.0
        return merge(network)

    merge = build_module.merge
    monkeypatch.setattr(build_module, "merge", forgetting)
    network = small_recipe().network.model_dump()
    network["encoder"]["trained"] = False
    network["lora"] = {"ranks": {"qkv": 4, "lin1": 2}}
    recipe = small_recipe(network=network)
    run = tmp_path / "run"
    save_checkpoint(run, taught(recipe), calibrated_facts_of(recipe))
    with pytest.raises(ExportError, match="the merged network is another: probability differs"):
        build(run, tmp_path / "bundle", silent)


def test_one_channel_is_also_compared_on_scans(tmp_path):
    run = write_checkpoint(tmp_path / "run", small_recipe())
    plan = Plan("sub-01", seed=1, site="singapore", load_ml=40)
    write_phantom(plan, tmp_path / "scans")  # in the place of a patient's
    built = build(run, tmp_path / "bundle", silent, scans=[plan.scan_path(tmp_path / "scans")])
    manifest = built.bundle.manifest
    for graph in manifest.graphs:
        assert {p.data for p in graph.parity} == {"phantoms", "scans"}
    # Of sixteen slices every other one calibrates: none is both learned from and proof.
    assert manifest.quantization.calibration_slices == {"phantoms": 12, "scans": 8}
    assert {p.slices for p in manifest.graphs[0].parity if p.data == "scans"} == {8}
    # What goes into the bundle shows phantoms alone.
    assert len(load_reference_outputs(built.bundle).questions) == 8


def test_scans_without_lesions_prove_nothing_and_stop_nothing(tmp_path, float32_alone):
    run = write_checkpoint(tmp_path / "run", small_recipe())
    scan = write_head(tmp_path / "a_FLAIR.nii.gz", lesions=0)
    built = build(run, tmp_path / "bundle", silent, scans=[scan])
    assert "nothing is found in the scans: compared on phantoms alone" in built.warnings
    assert {p.data for g in built.bundle.manifest.graphs for p in g.parity} == {"phantoms"}


def test_a_checkpoint_without_calibration_is_refused(checkpoint, tmp_path):
    facts = load_facts(checkpoint)
    bare = tmp_path / "bare"
    bare.mkdir()
    save_facts(bare, facts.model_copy(update={"calibration": None}))
    with pytest.raises(ExportError, match=r"is not calibrated.*wmh-train calibrate"):
        build(bare, tmp_path / "out", silent)


def test_an_existing_bundle_is_not_replaced(bundle, checkpoint):
    with pytest.raises(ExportError, match="exists already"):
        build(checkpoint, bundle.folder, silent)


def test_the_manifest_is_json_that_others_can_read(bundle):
    manifest = json.loads((bundle.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema_version"] == 3
    assert {graph["precision"] for graph in manifest["graphs"]} == {"fp32", "fp16", "int8"}
