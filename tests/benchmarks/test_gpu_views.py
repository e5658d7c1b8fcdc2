"""Ways to execute slices on a GPU: what can be told without one, and with one all of them."""

import numpy as np
import pytest
import torch

from tests.networks import perturbed, slices_of, write_checkpoint
from tests.runtime.gpus import install_fake_gpus
from tests.toys import lora_recipe, small_recipe, write_toy_bundle
from wmh_bench.cli import main
from wmh_bench.gpu import ways
from wmh_bench.gpu.fused_attention import FusedAttention, with_fused_attention
from wmh_bench.gpu.views import measure_gpu_views
from wmh_bench.gpu.ways import REFERENCE, RuntimeWay, ViewByView, torch_ways
from wmh_export.merge import merge
from wmh_export.rewrite import rewrite
from wmh_runtime.backends.onnxruntime_gpu import CudaProviderBackend
from wmh_runtime.devices.cuda import CudaDevice
from wmh_runtime.types import NetworkShape
from wmh_train.model.views import EightViews


@pytest.fixture(scope="module")
def network():
    return perturbed(lora_recipe())


def test_all_modules_give_the_same(network):
    slices = torch.from_numpy(slices_of(lora_recipe(), count=2))
    rewritten = rewrite(merge(network))
    fused = with_fused_attention(rewritten)
    attentions = [m for m in fused.modules() if isinstance(m, FusedAttention)]
    assert len(attentions) == lora_recipe().network.encoder.depth
    assert not any(isinstance(m, FusedAttention) for m in rewritten.modules())  # it is a copy
    with torch.inference_mode():
        expected = EightViews(network)(slices)
        for module in (ViewByView(network), EightViews(rewritten), EightViews(fused)):
            torch.testing.assert_close(module(slices), expected, atol=1e-5, rtol=0)


def test_the_reference_methods_own_way_comes_first_and_one_slice_at_a_time(network):
    found = list(torch_ways(network, rewrite(merge(network)), [1, 4]))
    references = [way for way in found if way.name == REFERENCE]
    assert found[: len(references)] == references
    assert [way.precision for way in references] == ["fp32", "fp16", "bf16"]
    assert {way.slices for way in references} == {1}
    assert {way.slices for way in found} == {1, 4}
    assert len({str(way) for way in found}) == len(found)


def test_the_runtime_is_timed_by_its_own_backends(tmp_path, monkeypatch):
    install_fake_gpus(monkeypatch)
    monkeypatch.setattr(ways, "device_type", lambda: CudaDevice)
    graph = write_toy_bundle(tmp_path / "bundle") / "graphs" / "8-view.fp32.onnx"
    shape = NetworkShape(channels=1, outputs=1, size_px=32)
    way = RuntimeWay(CudaProviderBackend, "fp32", 2, shape, lambda: graph)
    slices = np.random.default_rng(0).normal(size=(3, *shape.slice_in)).astype(np.float32)
    with way.open() as opened:
        np.testing.assert_allclose(opened.predict(slices), 1 / (1 + np.exp(-slices)), atol=1e-6)
        seconds = opened.seconds(slices[:2], timed=5)
    assert len(seconds) == 5
    assert min(seconds) > 0


def test_without_a_gpu_that_is_said(run_command, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, errors = run_command(main, "gpu-views", tmp_path, "--results", tmp_path / "r.json")
    assert (status, "PyTorch sees no GPU" in errors) == (2, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
def test_on_a_gpu_all_ways_agree_with_the_processor(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    measured = measure_gpu_views(checkpoint, None, [1], tmp_path, lambda *_: None)
    assert {way.precision for way in measured.ways} >= {"fp32", "fp16", "bf16"}
    for way in measured.ways:
        assert way.mask_dice > (0.999 if way.precision == "fp32" else 0.95), way.name
