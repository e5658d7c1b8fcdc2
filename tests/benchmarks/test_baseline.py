"""The baseline measurement. With a GPU, all variants are measured."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.benchmarks.test_compare import environment
from tests.networks import perturbed_network, random_slices, write_checkpoint
from tests.runtime.gpus import install_fake_gpus, with_cuda_graphs, with_engines
from tests.training_toys import lora_recipe, metadata_of, small_recipe
from wmh_bench.baseline import measure, runtime_variants, torch_ceilings
from wmh_bench.baseline.attention import ScaledDotProductAttention
from wmh_bench.baseline.expected import ExpectedOutputs
from wmh_bench.baseline.measure import BaselineInputs, measure_baseline
from wmh_bench.baseline.result import Baseline
from wmh_bench.baseline.torch_variants import REFERENCE, ViewByView, torch_variants
from wmh_bench.baseline.variant import OpenVariant
from wmh_bench.cli import main
from wmh_bench.results import read_result
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.errors import ExportError
from wmh_runtime.inference import backend_factory
from wmh_train.checkpoint import load_metadata, load_network, save_checkpoint
from wmh_train.model.views import EightViews

CPU = torch.device("cpu")


def nothing(*_):
    pass


@pytest.fixture
def brief(monkeypatch):
    """Measure for a moment only, multiply small matrices, and compile no C++."""
    monkeypatch.setattr(measure, "MIN_DURATION_S", 0.1)
    monkeypatch.setattr(torch_ceilings, "_MIN_DURATION_S", 0.01)
    monkeypatch.setattr(torch_ceilings, "_MATRIX_SIZE", {"cpu": 64, "cuda": 8192})
    if not torch.cuda.is_available():
        compile_quickly = partial(torch.compile, backend="aot_eager")
        monkeypatch.setattr(torch, "compile", compile_quickly)


@pytest.fixture(scope="module")
def network():
    return perturbed_network(lora_recipe())


def test_all_modules_give_the_same_output(network):
    slices = torch.from_numpy(random_slices(lora_recipe(), count=2))
    plain = rewrite(merge(network))
    sdpa = rewrite(merge(network), ScaledDotProductAttention)
    attentions = [m for m in sdpa.modules() if isinstance(m, ScaledDotProductAttention)]
    assert len(attentions) == lora_recipe().network.encoder.depth
    with torch.inference_mode():
        expected = EightViews(network)(slices)
        for module in (ViewByView(network), EightViews(plain), EightViews(sdpa)):
            torch.testing.assert_close(module(slices), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("device", "precisions"),
    [("cuda", ["fp32", "fp16", "bf16"]), ("cpu", ["fp32"])],
)
def test_the_reference_method_comes_first_with_one_slice_per_batch(network, device, precisions):
    variants = list(torch_variants(network, merge(network), [1, 4], torch.device(device)))
    references = [one for one in variants if one.name == REFERENCE]
    assert variants[: len(references)] == references
    assert [one.precision for one in references] == precisions
    assert {one.batch_size for one in references} == {1}
    assert {one.batch_size for one in variants} == {1, 4}
    assert len({str(one) for one in variants}) == len(variants)
    assert any("CUDA graph" in one.name for one in variants) is (device == "cuda")
    assert any(one.precision == "fp16" for one in variants) is (device == "cuda")


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile
def test_all_variants_agree_on_a_cpu(tmp_path, monkeypatch, brief):
    reported, steps = [], []
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    network = load_network(checkpoint, load_metadata(checkpoint), None)
    variants = list(torch_variants(network, merge(network), [1], CPU))
    compiled = [one for one in variants if one.is_compiled]
    variants = [one for one in variants if one not in compiled[1:]]
    monkeypatch.setattr(measure, "torch_variants", lambda *_: variants)
    measured = measure_baseline(
        *(BaselineInputs(checkpoint, None, None), CPU, [1], 2),
        on_result=lambda so_far, line: reported.append((len(so_far.rows), line)),
        on_step=steps.append,
    )
    assert measured.skipped == {}
    assert [count for count, _ in reported] == list(range(1, len(measured.rows) + 1))
    assert measured.rows[0].name == REFERENCE
    assert [(row.name, row.precision) for row in measured.rows] == [
        (one.name, one.precision) for one in variants
    ]
    assert set(measured.matmul_ceiling_tflop_per_s) == {"fp32", "bf16"}
    assert measured.copies is None
    assert measured.environment.model.gflop_per_view > 0
    for row in measured.rows:
        assert row.mask_dice > {"fp32": 0.9999, "bf16": 0.95}[row.precision], row.name
        assert row.views_per_s == pytest.approx(8e3 / row.times.median_ms, rel=0.01)
        tflop = 8 * measured.environment.model.gflop_per_view / 1e3
        assert row.tflop_per_s == pytest.approx(tflop / row.times.median_ms * 1e3, abs=1e-3)
    assert str(steps[-1]).startswith("torch.compile")


class FakeVariant(OpenVariant):
    """Every batch takes a fixed time."""

    memory_mb = None

    def __init__(self, batch_s):
        self.batch_s = batch_s
        self.calls = []

    def predict(self, slices):
        return slices

    def time_batches(self, batch, count):
        self.calls.append((len(batch), count))
        return [self.batch_s] * count


class ClosedVariant:
    def __init__(self, opened, batch_size):
        self.opened, self.batch_size = opened, batch_size

    def open(self):
        return self

    def __enter__(self):
        return self.opened

    def __exit__(self, *_):
        pass


def test_a_variant_alternates_with_a_view_of_the_reference():
    expected = ExpectedOutputs(np.zeros((2, 1, 4, 4), np.float32), None, None)
    variant, reference = FakeVariant(0.5), FakeVariant(0.125)
    timing = measure._time(ClosedVariant(variant, 3), reference, expected, rounds=4)
    # One batch of each to estimate the time. Then 3 s in four rounds: ceil(0.75 / 0.5) = 2 batches
    # per round, and half as long, 0.5 s, for four views of the reference.
    assert variant.calls == [(3, 1)] + [(3, 2)] * 4
    assert reference.calls == [(1, 1)] + [(1, 4)] * 4
    assert timing.batch_seconds == [0.5] * 8
    # Three slices in eight views take the reference 3 · 8 · 0.125 = 3 s, six times 0.5 s.
    assert timing.speedups == [6] * 4


def test_a_machine_that_slows_down_does_not_change_the_speedup():
    class SlowingVariant(FakeVariant):
        def time_batches(self, batch, count):
            self.batch_s *= 2
            return super().time_batches(batch, count)

    expected = ExpectedOutputs(np.zeros((2, 1, 4, 4), np.float32), None, None)
    variant, reference = ClosedVariant(SlowingVariant(1), 1), SlowingVariant(1)
    timing = measure._time(variant, reference, expected, rounds=3)
    assert timing.speedups == [8] * 3
    assert timing.batch_seconds == [4, 8, 16]


def test_a_row_summarizes_the_rounds(tmp_path):
    ones = np.ones((1, 1, 4, 4), np.float32)
    expected = ExpectedOutputs(ones, ones, np.full((1, 1, 1), 0.5, np.float32))
    variants = torch_variants(*[perturbed_network(small_recipe())] * 2, [2], CPU)
    (variant,) = [v for v in variants if str(v) == "PyTorch, merged, fp32, 2 slices per batch"]
    result = Baseline(
        environment=environment(),
        device="A",
        threads=2,
        rounds=3,
        matmul_ceiling_tflop_per_s={"fp32": 4},
        copies=None,
        rows=[],
        skipped={},
    )
    timing = measure._Timing(ones, 1.5, [2.0, 2.0, 3.0], [6, 5, 9], None)
    row = measure._row(variant, timing, expected, result)
    # Two slices in 2 s, each with eight views of 209 GFLOP: 1.672 TFLOP/s. The ceiling is 4.
    assert (row.times.median_ms, row.views_per_s) == (1000, 8)
    assert row.tflop_per_s == pytest.approx(1.672)
    assert row.share_of_matmul_ceiling == pytest.approx(0.418)
    assert (row.speedup, row.min_speedup, row.max_speedup) == (6, 5, 9)
    assert (row.is_runtime, row.first_batch_s, row.mask_dice) == (False, 1.5, 1)
    assert row.warnings[0] == "only 3 repetitions"


@pytest.mark.exhaustive
def test_a_runtime_variant_executes_the_bundle(bundle):
    variants = list(runtime_variants.runtime_variants(bundle, [1, 2], on_gpu=False))
    assert {one.batch_size for one in variants} == {1}
    (variant,) = (v for v in variants if (v.name, v.precision) == ("onnxruntime", "fp32"))
    reference = load_reference_outputs(bundle)
    slices = reference.probes.slices[: len(reference.probability[8])]
    with variant.open() as opened:
        probability = opened.predict(slices)
        seconds = opened.time_batches(slices[:1], 3)
        assert opened.memory_mb is None
    np.testing.assert_allclose(probability, reference.probability[8], atol=1e-4)
    assert len(seconds) == 3  # of pairs of batches that are executed at the same time
    assert min(seconds) > 0


def test_engines_and_providers_are_timed(toy_bundle, monkeypatch):
    gpus = install_fake_gpus(monkeypatch)
    for module in (runtime_variants, backend_factory):
        monkeypatch.setattr(module, "device_type", lambda: CudaDevice)
    bundle = load_bundle(toy_bundle)
    for kind in ("rtx", "tensorrt"):
        bundle = with_engines(bundle, kind)
    bundle = with_cuda_graphs(bundle)
    shape = bundle.manifest.network_shape
    slices = np.random.default_rng(0).normal(size=(3, *shape.input_shape)).astype(np.float32)
    names = []
    for variant in runtime_variants.runtime_variants(bundle, [2], on_gpu=True):
        with variant.open() as opened:
            probability = opened.predict(slices)
            seconds = opened.time_batches(slices[:2], 5)
            assert opened.memory_mb is not None
        np.testing.assert_allclose(probability, 1 / (1 + np.exp(-slices)), atol=1e-6)
        assert len(seconds) == 5
        assert min(seconds) > 0
        names.append(f"{variant.name} {variant.precision}")
    assert names == [
        *("rtx fp16", "tensorrt fp16", "onnxruntime-cuda-graph fp16"),
        *("onnxruntime-cuda fp32", "onnxruntime-cuda fp16", "onnxruntime-tensorrt fp16"),
    ]
    assert gpus.enqueued > 0  # of the engines


@pytest.mark.exhaustive
def test_a_variant_that_fails_is_skipped_with_the_reason(tmp_path, monkeypatch, brief):
    def fail(self, source):
        raise RuntimeError("no memory\nand much more")

    monkeypatch.setattr(ViewByView, "forward", fail)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    one = list(torch_variants(*[perturbed_network(small_recipe())] * 2, [1], CPU))[:1]
    monkeypatch.setattr(measure, "torch_variants", lambda *_: one)
    measured = measure_baseline(
        BaselineInputs(checkpoint, None, None), CPU, [1], 1, nothing, nothing
    )
    assert measured.rows == []
    assert measured.skipped == {str(one[0]): "no memory"}


def test_a_checkpoint_that_is_not_calibrated_is_refused(tmp_path):
    recipe = small_recipe()
    save_checkpoint(tmp_path / "checkpoint", perturbed_network(recipe), metadata_of(recipe))
    inputs = BaselineInputs(tmp_path / "checkpoint", None, None)
    with pytest.raises(ExportError, match="is not calibrated for eight views"):
        measure_baseline(inputs, CPU, [1], 1, nothing, nothing)


def test_a_bundle_of_another_network_is_refused(tmp_path, toy_bundle):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    inputs = BaselineInputs(checkpoint, None, load_bundle(toy_bundle))
    with pytest.raises(ExportError, match="has another preprocessing than"):
        measure_baseline(inputs, CPU, [1], 1, nothing, nothing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch", "1,x"), "--batch: is 1,x"),
        (("--batch", ","), "--batch: is"),
        (("--device", "cuda"), "PyTorch finds no GPU"),
        (("--device", "tpu"), "--device: is tpu"),
    ],
)
def test_invalid_options_are_refused(run_command, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, errors = run_command(main, "baseline", tmp_path, *options)
    assert (status, message in errors) == (2, True), errors


def test_the_command_prints_the_results_that_it_writes(tmp_path, run_command, monkeypatch, brief):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    one = list(torch_variants(*[perturbed_network(small_recipe())] * 2, [1], CPU))[:1]
    monkeypatch.setattr(measure, "torch_variants", lambda *_: one)
    results = tmp_path / "r.json"
    status, output, errors = run_command(
        *(main, "baseline", checkpoint, "--rounds", 1, "--device", "cpu", "--results", results)
    )
    assert status == 0, errors
    (row,) = read_result(results).rows
    assert f"{row.times.median_ms:.1f} ms per slice" in output
    assert f"{row.speedup:.2f} ×" in output


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
def test_all_variants_agree_on_a_gpu(tmp_path):
    recipe, gpu = small_recipe(), torch.device("cuda")
    checkpoint = write_checkpoint(tmp_path / "checkpoint", recipe)
    inputs = BaselineInputs(checkpoint, None, None)
    measured = measure_baseline(inputs, gpu, [1], 2, nothing, nothing)
    network = perturbed_network(recipe)
    assert {one.name for one in torch_variants(network, merge(network), [1], gpu)} == {
        row.name for row in measured.rows
    }
    assert measured.skipped == {}
    for row in measured.rows:
        min_dice = {"fp32": 0.9999, "fp16": 0.99, "bf16": 0.95}[row.precision]
        assert row.mask_dice > min_dice, row.name
