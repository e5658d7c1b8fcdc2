"""From a checkpoint to a bundle that is provably the same model."""

import copy
import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import ExternalDataInfo
from torch import nn

from tests.toys import facts_of, lora_recipe, small_recipe, write_annotated_heads, write_small_base
from wmh_export.assemble import build
from wmh_export.graph import save_sharing_weights, trace
from wmh_export.merge import merge_lora
from wmh_export.parity import measure_parity, parity_slices, require_parity
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.bundle import Output, open_bundle
from wmh_runtime.errors import ExportError, RecipeError
from wmh_runtime.phantom.cohort import DATA_SET_NAME
from wmh_runtime.prepare import Preparation
from wmh_runtime.scan import read_scan
from wmh_runtime.segmenter import Segmenter
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import NetworkShape
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import (
    Calibration,
    CheckpointFacts,
    Choice,
    load_facts,
    load_network,
    save_checkpoint,
    save_facts,
)
from wmh_train.model.base import BaseIdentity, read_base
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView
from wmh_train.recipe import Recipe

TWO = {"channels": ["flair", "t1"], "outputs": ["wmh", "stroke"]}


def perturbed(recipe: Recipe, seed=0) -> WmhNetwork:
    """A network whose every parameter matters, LoRA's zeros and BatchNorm's ones included."""
    torch.manual_seed(seed)
    network = WmhNetwork(recipe).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = 0.1 * torch.randn_like(tensor)
                tensor.add_(noise.abs() if name.endswith("running_var") else noise)
        network.decoder.fuse[-1].bias.zero_()  # probabilities on both sides of one half
    return network


def slices_of(recipe: Recipe, count=3) -> np.ndarray:
    side = recipe.preparation.size_px
    shape = (count, len(recipe.channels), side, side)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    return write_annotated_heads(folder, 4, channels=("FLAIR", "T1w"), outputs=("WMH", "STROKE"))


def calibrated_facts_of(recipe: Recipe, base: BaseIdentity | None = None) -> CheckpointFacts:
    outputs = [Output(name=name, threshold=0.5, min_lesion_mm3=0) for name in recipe.outputs]
    halves = [0.5] * len(outputs)
    choice = Choice(views=8, outputs=outputs, mean_dice=halves, mean_lesion_f1=halves)
    calibration = Calibration(choices=[choice], scans=1, lesion_f1_weight=0, surface=[])
    return facts_of(recipe, base).model_copy(update={"calibration": calibration})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Two channels, two outputs, random weights that all matter."""
    folder = tmp_path_factory.mktemp("run")
    recipe = small_recipe(**TWO)
    save_checkpoint(folder, perturbed(recipe), calibrated_facts_of(recipe))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, checkpoint):
    return build(checkpoint, tmp_path_factory.mktemp("out") / "bundle", lambda step: None)


def test_merging_lora_changes_nothing_but_the_adapters():
    network = copy.deepcopy(small_recipe().network.model_dump())
    network["encoder"]["trained"] = False
    network["lora"] = {"ranks": {"qkv": 4, "proj": 4, "lin1": 2, "lin2": 2}}
    adapted = perturbed(small_recipe(network=network))
    before = copy.deepcopy(adapted.state_dict())
    merged = merge_lora(adapted)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(merged(image).fused, adapted(image).fused, atol=1e-5, rtol=0)
        unmerged = copy.deepcopy(adapted)
        for module in unmerged.encoder.modules():
            if hasattr(module, "scaling"):
                module.scaling["default"] = 0.0
        difference = (unmerged(image).fused - merged(image).fused).abs().max()
    assert difference > 1e-3  # a merge that was forgotten would show
    after = adapted.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_frozen_encoder_is_exported_with_its_base_and_with_no_other(tmp_path):
    recipe = lora_recipe()
    base = read_base(write_small_base(tmp_path / "base.pth"))
    torch.manual_seed(0)
    network = WmhNetwork(recipe, base).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
        network.decoder.fuse[-1].bias.zero_()  # probabilities on both sides of one half
    run = tmp_path / "run"
    save_checkpoint(run, network, calibrated_facts_of(recipe, base.identity))
    with pytest.raises(RecipeError, match=r"was trained on base\.pth, which it does not hold"):
        build(run, tmp_path / "bundle", lambda step: None)
    made = build(run, tmp_path / "bundle", lambda step: None, base=base.path)
    assert {graph.views for graph in made.manifest.graphs} == {1, 8}
    assert all(graph.parity.mask_dice > 0.999 for graph in made.manifest.graphs)


def test_a_weight_that_is_not_finite_is_not_exported():
    network = perturbed(small_recipe())
    with torch.no_grad():
        network.decoder.heads[0].weight[0] = float("nan")
    with pytest.raises(ExportError, match=r"decoder\.heads\.0\.weight is not finite"):
        merge_lora(network)


def test_eight_views_are_the_mean_of_one_view_over_the_table_of_views():
    recipe = small_recipe()
    network, slices = perturbed(recipe), slices_of(recipe)
    with TorchBackend(network, recipe, views=1) as one, TorchBackend(network, recipe) as eight:
        averaged = np.mean(
            [view.undo(one.predict(np.ascontiguousarray(view.apply(slices)))) for view in VIEWS],
            axis=0,
        )
        np.testing.assert_allclose(eight.predict(slices), averaged, atol=1e-6)
        assert np.abs(one.predict(slices) - averaged).max() > 1e-3


def test_turning_the_slice_turns_the_answer():
    # Averaged over the whole group, the network has its symmetries: what no other set of views has.
    recipe = small_recipe()
    slices = slices_of(recipe)
    with TorchBackend(perturbed(recipe), recipe) as backend:
        upright = backend.predict(slices)
        for view in VIEWS:
            turned = backend.predict(np.ascontiguousarray(view.apply(slices)))
            np.testing.assert_allclose(view.undo(turned), upright, atol=1e-5)


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_graphs_agree_with_pytorch(bundle, checkpoint, views, batch_size):
    facts = load_facts(checkpoint)
    network, slices = load_network(checkpoint, facts), slices_of(facts.recipe)
    with (
        TorchBackend(network, facts.recipe, views=views) as expected,
        OnnxRuntimeBackend.of_bundle(bundle, views=views, batch_size=batch_size) as found,
    ):
        np.testing.assert_allclose(found.predict(slices), expected.predict(slices), atol=1e-5)


def test_batch_and_threads_change_probabilities_by_at_most_a_millionth(bundle):
    slices = slices_of(load_recipe_of(bundle), count=5)
    results = []
    for batch_size, threads in ((1, 1), (2, 2), (4, 1), (5, 2)):
        with OnnxRuntimeBackend.of_bundle(bundle, batch_size=batch_size, threads=threads) as b:
            results.append(b.predict(slices))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-6, rtol=0)


def load_recipe_of(bundle) -> Recipe:
    return small_recipe(channels=bundle.manifest.channels)


def test_a_slice_does_not_depend_on_its_neighbours(bundle):
    slices = slices_of(load_recipe_of(bundle), count=5)
    with OnnxRuntimeBackend.of_bundle(bundle, batch_size=4) as backend:
        together = backend.predict(slices)
        alone = np.concatenate([backend.predict(slices[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_two_channels_and_two_outputs_go_from_recipe_to_mask(bundle, data):
    scans = [read_scan(data / f"sub-00_{suffix}.nii.gz") for suffix in ("FLAIR", "T1w")]
    manifest = bundle.manifest
    with OnnxRuntimeBackend.of_bundle(bundle) as backend:
        results = Segmenter(manifest.preparation, manifest.outputs, backend).segment(*scans).results
    assert [result.output.name for result in results] == ["wmh", "stroke"]
    assert all(result.lesions.mask.shape == scans[0].shape for result in results)
    assert not np.array_equal(results[0].probability, results[1].probability)


def test_the_bundle_is_whole_and_records_what_was_measured(bundle):
    opened = open_bundle(bundle.folder)
    names = sorted(path.name for path in bundle.folder.rglob("*") if path.is_file())
    assert names == [
        "1-view.fp32.onnx",
        "8-view.fp32.onnx",
        "MODEL_CARD.md",
        "manifest.json",
        "weights.bin",
    ]
    for graph in opened.manifest.graphs:
        assert graph.parity.slices == 8
        assert graph.parity.max_abs_difference < 1e-4
        assert graph.parity.mask_dice > 0.99
    assert "Research use only" in (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_what_was_learned_from_phantoms_says_so_and_a_licence_is_not_invented(checkpoint, tmp_path):
    facts = load_facts(checkpoint)
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run)
    of_phantoms = facts.provenance.model_copy(update={"data": DATA_SET_NAME})
    save_facts(run, facts.model_copy(update={"provenance": of_phantoms}))
    made = build(run, tmp_path / "silent", lambda step: None).manifest
    assert made.caution == "Trained on made-up heads: on scans of patients its masks mean nothing"
    assert made.licence == "not stated"
    said = build(
        run, tmp_path / "said", lambda step: None, caution="No", licence="CC0-1.0"
    ).manifest
    assert (said.caution, said.licence) == ("No", "CC0-1.0")


def test_both_graphs_read_the_same_bytes_of_one_weights_file(bundle):
    places = []
    for graph in bundle.manifest.graphs:
        model = onnx.load(bundle.path_of(graph), load_external_data=False)
        external = [ExternalDataInfo(t) for t in model.graph.initializer if t.external_data]
        assert {place.location for place in external} == {"weights.bin"}
        assert all(t.external_data for t in model.graph.initializer if np.prod(t.dims) >= 1024)
        places.append({(place.offset, place.length) for place in external})
    assert places[0] == places[1]


def test_graphs_hold_no_foreign_operators_and_no_path_of_the_machine_that_made_them(bundle):
    for graph in bundle.manifest.graphs:
        path = bundle.path_of(graph)
        model = onnx.load(path, load_external_data=False)
        assert {node.domain for node in model.graph.node} == {""}
        assert b"wmh_train" not in path.read_bytes()
        assert b".py" not in path.read_bytes()


def test_the_same_checkpoint_gives_the_same_bytes(bundle, checkpoint, tmp_path):
    again = build(checkpoint, tmp_path / "again", lambda step: None)
    for file in (*bundle.manifest.graphs, *bundle.manifest.weights):
        assert again.path_of(file).read_bytes() == bundle.path_of(file).read_bytes()
    assert again.manifest.model_id == bundle.manifest.model_id


def test_a_checkpoint_without_calibration_is_refused(checkpoint, tmp_path):
    facts = load_facts(checkpoint)
    bare = tmp_path / "bare"
    bare.mkdir()
    save_facts(bare, facts.model_copy(update={"calibration": None}))
    with pytest.raises(ExportError, match=r"is not calibrated.*wmh-train calibrate"):
        build(bare, tmp_path / "out", lambda step: None)


def test_an_existing_bundle_is_not_replaced(bundle, checkpoint):
    with pytest.raises(ExportError, match="exists already"):
        build(checkpoint, bundle.folder, lambda step: None)


class WrongWayBack(EightViews):
    """A rotation by 90° undone as if it were one by 270°: the classic mistake."""

    def forward(self, image):
        turned = OneView.forward(self, image.rot90(1, (-2, -1)))
        return turned.rot90(1, (-2, -1))


def broken_parity(recipe, broken: nn.Module, tmp_path):
    network = perturbed(recipe)
    save_sharing_weights({"g.onnx": trace(broken, 1, recipe.preparation.size_px)}, tmp_path)
    with (
        TorchBackend(network, recipe, views=1) as reference,
        OnnxRuntimeBackend(tmp_path / "g.onnx", reference.shape) as candidate,
    ):
        return measure_parity(reference, candidate, slices_of(recipe), [0.5])


def test_a_view_undone_the_wrong_way_is_caught(tmp_path):
    recipe = small_recipe()
    parity = broken_parity(recipe, WrongWayBack(perturbed(recipe)), tmp_path)
    with pytest.raises(ExportError, match="differs from the network"):
        require_parity(parity, "broken")


def test_a_weight_that_differs_is_caught_and_the_right_graph_passes(tmp_path):
    recipe = small_recipe()
    network = perturbed(recipe)
    require_parity(broken_parity(recipe, OneView(network), tmp_path), "right")
    with torch.no_grad():
        network.encoder.blocks[1].mlp.lin2.weight.mul_(1.5)
    with pytest.raises(ExportError, match="differs from the network"):
        require_parity(broken_parity(recipe, OneView(network), tmp_path), "broken")


def test_two_empty_masks_prove_nothing():
    shape = NetworkShape(1, 1, 16)
    dark = np.full((2, 1, 16, 16), -10, np.float32)
    with (
        FakeBackend(shape) as one,
        FakeBackend(shape) as other,
        pytest.raises(ExportError, match="finds no lesion"),
    ):
        measure_parity(one, other, dark, [0.5])


def test_parity_is_measured_where_the_lesions_are():
    slices = parity_slices(Preparation(pixel_size_mm=2.0, size_px=128), channels=2)
    assert slices.shape == (8, 2, 128, 128)
    assert slices.dtype == np.float32
