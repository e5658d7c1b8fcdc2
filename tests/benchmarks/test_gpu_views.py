"""Ways to execute slices on a GPU: what can be told without one, and with one all of them."""

import numpy as np
import pytest
import torch

from tests.networks import perturbed, slices_of, write_checkpoint
from tests.runtime.gpus import install_fake_gpus
from tests.toys import facts_of, lora_recipe, small_recipe, write_toy_bundle
from wmh_bench.cli import main
from wmh_bench.gpu import runtime_ways as runtime
from wmh_bench.gpu.attention import ScaledDotProductAttention
from wmh_bench.gpu.runtime_ways import Graphs, runtime_ways
from wmh_bench.gpu.torch_ways import REFERENCE, ViewByView, torch_ways
from wmh_bench.gpu.views import measure_gpu_views
from wmh_export.compiler import Compiled
from wmh_export.merge import merge
from wmh_export.rewrite import rewrite
from wmh_runtime.devices.cuda import CudaDevice
from wmh_runtime.errors import ExportError
from wmh_runtime.types import NetworkShape
from wmh_train.checkpoint import save_checkpoint
from wmh_train.model.views import EightViews


@pytest.fixture(scope="module")
def network():
    return perturbed(lora_recipe())


def test_all_modules_give_the_same(network):
    slices = torch.from_numpy(slices_of(lora_recipe(), count=2))
    plain = rewrite(merge(network))
    own = rewrite(merge(network), ScaledDotProductAttention)
    attentions = [m for m in own.modules() if isinstance(m, ScaledDotProductAttention)]
    assert len(attentions) == lora_recipe().network.encoder.depth
    with torch.inference_mode():
        expected = EightViews(network)(slices)
        for module in (ViewByView(network), EightViews(plain), EightViews(own)):
            torch.testing.assert_close(module(slices), expected, atol=1e-5, rtol=0)


def test_the_reference_methods_own_way_comes_first_and_one_slice_at_a_time(network):
    found = list(torch_ways(network, merge(network), [1, 4]))
    references = [way for way in found if way.name == REFERENCE]
    assert found[: len(references)] == references
    assert [way.precision for way in references] == ["fp32", "fp16", "bf16"]
    assert {way.slices for way in references} == {1}
    assert {way.slices for way in found} == {1, 4}
    assert len({str(way) for way in found}) == len(found)


def test_the_runtime_is_timed_by_its_own_backends_on_graphs_and_engines(tmp_path, monkeypatch):
    fresh = install_fake_gpus(monkeypatch)
    monkeypatch.setattr(runtime, "device_type", lambda: CudaDevice)
    compiled = Compiled(b"engine of slices", [])  # the fake knows no targets
    monkeypatch.setattr(runtime, "compile_graph", lambda *_, **__: compiled)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**9, 2 * 10**9))
    write_toy_bundle(tmp_path / "bundle")
    folder = tmp_path / "bundle" / "graphs"
    (folder / "8-view.fp16.onnx").write_bytes((folder / "8-view.fp32.onnx").read_bytes())
    graphs = Graphs(None, NetworkShape(channels=1, outputs=1, size_px=32), folder)
    slices = np.random.default_rng(0).normal(size=(3, *graphs.shape.slice_in)).astype(np.float32)
    names = []
    for way in runtime_ways(graphs, [2]):
        way.prepare()
        with way.open() as opened:
            found = opened.predict(slices)
            seconds = opened.seconds(slices[:2], timed=5)
            assert opened.memory_mb == 0
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-slices)), atol=1e-6)
        assert len(seconds) == 5
        assert min(seconds) > 0
        names.append(f"{way.name} {way.precision}")
    assert names == [
        *("onnxruntime-cuda fp32", "onnxruntime-cuda fp16", "onnxruntime-tensorrt fp16"),
        *("rtx fp16", "tensorrt fp16"),
    ]
    assert fresh.enqueued > 0  # of the engines


@pytest.mark.parametrize("batches", ["1,x", "0", "", "-1"])
def test_batches_that_are_none_are_refused(run_command, tmp_path, monkeypatch, batches):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    call = (main, "gpu-views", tmp_path, "--results", tmp_path / "r.json", "--batches", batches)
    status, _, errors = run_command(*call)
    assert (status, "--batches: is" in errors) == (2, True)


def test_a_checkpoint_that_is_not_calibrated_is_refused(tmp_path):
    recipe = small_recipe()
    save_checkpoint(tmp_path / "checkpoint", perturbed(recipe), facts_of(recipe))
    with pytest.raises(ExportError, match="is not calibrated for eight views"):
        measure_gpu_views(tmp_path / "checkpoint", None, [1], tmp_path, lambda *_: None)


def test_without_a_gpu_that_is_said(run_command, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, errors = run_command(main, "gpu-views", tmp_path, "--results", tmp_path / "r.json")
    assert (status, "PyTorch sees no GPU" in errors) == (2, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
def test_on_a_gpu_all_ways_agree_with_the_processor(tmp_path):
    recipe = small_recipe()
    checkpoint = write_checkpoint(tmp_path / "checkpoint", recipe)
    measured = measure_gpu_views(checkpoint, None, [1], tmp_path, lambda *_: None)
    network = perturbed(recipe)
    wanted = {way.name for way in torch_ways(network, merge(network), [1])}
    assert wanted <= {way.name for way in measured.ways}
    missing = ("is not installed", "has no", "install TensorRT", "does not build for")
    assert all(any(why in reason for why in missing) for reason in measured.skipped.values())
    for way in measured.ways:
        bound = {"fp32": 0.9999, "fp16": 0.99, "bf16": 0.95}[way.precision]
        assert way.mask_dice > bound, way.name
