"""PyTorch's ways and the runtime's: what can be told without a GPU, and with one all of them."""

import numpy as np
import pytest
import torch

from tests.benchmarks.test_compare import circumstances
from tests.networks import perturbed, slices_of, write_checkpoint
from tests.runtime.gpus import install_fake_gpus, with_engines
from tests.toys import facts_of, lora_recipe, small_recipe
from wmh_bench.baseline import measure, runtime_ways
from wmh_bench.baseline.attention import ScaledDotProductAttention
from wmh_bench.baseline.measure import Subject, measure_baseline
from wmh_bench.baseline.result import Baseline
from wmh_bench.baseline.torch_ways import REFERENCE, ViewByView, torch_ways
from wmh_bench.baseline.ways import Opened
from wmh_bench.cli import main
from wmh_bench.results import read_result
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.errors import ExportError
from wmh_runtime.inference import backend_selection
from wmh_train.checkpoint import load_facts, load_network, save_checkpoint
from wmh_train.model.views import EightViews

CPU = torch.device("cpu")


def nothing(*_):
    pass


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


@pytest.mark.parametrize(
    ("device", "precisions"),
    [("cuda", ["fp32", "fp16", "bf16"]), ("cpu", ["fp32"])],
)
def test_the_reference_methods_own_way_comes_first_and_one_slice_at_a_time(
    network, device, precisions
):
    found = list(torch_ways(network, merge(network), [1, 4], torch.device(device)))
    references = [way for way in found if way.name == REFERENCE]
    assert found[: len(references)] == references
    assert [way.precision for way in references] == precisions
    assert {way.slices for way in references} == {1}
    assert {way.slices for way in found} == {1, 4}
    assert len({str(way) for way in found}) == len(found)
    assert any("CUDA graph" in way.name for way in found) is (device == "cuda")
    assert any(way.precision == "fp16" for way in found) is (device == "cuda")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_on_a_processor_all_ways_agree_and_are_compared_with_the_reference(tmp_path, monkeypatch):
    told, steps = [], []
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    network = load_network(checkpoint, load_facts(checkpoint), None)
    ways = list(torch_ways(network, merge(network), [1], CPU))
    compiled = [way for way in ways if way.name.startswith("torch.compile")]
    ways = [way for way in ways if way not in compiled[1:]]  # each compiles for half a minute
    monkeypatch.setattr(measure, "torch_ways", lambda *_: ways)
    measured = measure_baseline(
        *(Subject(checkpoint, None, None), CPU, [1], 2),
        on_result=lambda so_far, line: told.append((len(so_far.rows), line)),
        on_step=steps.append,
    )
    assert measured.skipped == {}
    assert [count for count, _ in told] == list(range(1, len(measured.rows) + 1))
    assert measured.rows[0].name == REFERENCE
    assert [(row.name, row.precision) for row in measured.rows] == [
        (way.name, way.precision) for way in ways
    ]
    assert set(measured.products_tflop_per_s) == {"fp32", "bf16"}
    assert measured.copies is None
    assert measured.circumstances.model.gflop_a_view > 0
    for row in measured.rows:
        assert row.mask_dice > {"fp32": 0.9999, "bf16": 0.95}[row.precision], row.name
        assert row.views_per_s == pytest.approx(8e3 / row.times.median_ms, rel=0.01)
        tflop = 8 * measured.circumstances.model.gflop_a_view / 1e3
        assert row.tflop_per_s == pytest.approx(tflop / row.times.median_ms * 1e3, abs=1e-3)
    assert str(steps[-1]).startswith("torch.compile")


class Clock(Opened):
    """A way whose every batch takes as long as it is told."""

    memory_mb = None

    def __init__(self, seconds):
        self.one_s = seconds
        self.executed = []

    def predict(self, slices):
        return slices

    def seconds(self, batch, count):
        self.executed.append((len(batch), count))
        return [self.one_s] * count


class Opening:
    def __init__(self, opened, slices):
        self.opened, self.slices = opened, slices

    def open(self):
        return self

    def __enter__(self):
        return self.opened

    def __exit__(self, *_):
        pass


def test_a_way_takes_turns_with_a_view_of_the_reference():
    truth = measure._Truth(np.zeros((2, 1, 4, 4), np.float32), None, None)
    way, yardstick = Clock(0.5), Clock(0.125)
    done = measure._executed(Opening(way, 3), yardstick, truth, turns=4)
    # One of each to see how long it takes; then 3 s in four turns, ceil(0.75 / 0.5) = 2 batches in
    # each, and for half as long, 0.5 s, four views of the reference.
    assert way.executed == [(3, 1)] + [(3, 2)] * 4
    assert yardstick.executed == [(1, 1)] + [(1, 4)] * 4
    assert done.seconds == [0.5] * 8
    # Three slices of eight views by the reference: 3 · 8 · 0.125 = 3 s, six times 0.5.
    assert done.times_faster == [6] * 4


def test_a_machine_that_slows_down_slows_both():
    class Slowing(Clock):
        def seconds(self, batch, count):
            self.one_s *= 2
            return super().seconds(batch, count)

    truth = measure._Truth(np.zeros((2, 1, 4, 4), np.float32), None, None)
    done = measure._executed(Opening(Slowing(1), 1), Slowing(1), truth, turns=3)
    assert done.times_faster == [8] * 3
    assert done.seconds == [4, 8, 16]


def test_a_row_says_what_the_turns_came_to(tmp_path):
    ones = np.ones((1, 1, 4, 4), np.float32)
    truth = measure._Truth(ones, ones, np.full((1, 1, 1), 0.5, np.float32))
    way = torch_ways(*[perturbed(small_recipe())] * 2, [2], CPU)
    (way,) = [w for w in way if str(w) == "PyTorch, merged, fp32, 2 slices at a time"]
    facts = Baseline(
        circumstances=circumstances(),
        device="A",
        threads=2,
        turns=3,
        products_tflop_per_s={"fp32": 4},
        copies=None,
        rows=[],
        skipped={},
    )
    done = measure._Executed(ones, 1.5, [2.0, 2.0, 3.0], [6, 5, 9], None)
    row = measure._row(way, done, truth, facts)
    # Two slices in 2 s; of eight views of 209 GFLOP: 1.672 TFLOP a second, of four.
    assert (row.times.median_ms, row.views_per_s) == (1000, 8)
    assert row.tflop_per_s == pytest.approx(1.672)
    assert row.share_of_products == pytest.approx(0.418)
    assert (row.times_faster, row.least_times_faster, row.most_times_faster) == (6, 5, 9)
    assert (row.is_runtime, row.first_s, row.mask_dice) == (False, 1.5, 1)
    assert row.warnings[0] == "timed only 3 times"


def test_the_runtime_takes_its_turns_on_the_bundle(checkpoint, bundle):
    ways = list(runtime_ways.runtime_ways(bundle, [1, 2], on_gpu=False))
    assert {way.slices for way in ways} == {1}
    (way,) = (w for w in ways if (w.name, w.precision) == ("onnxruntime", "fp32"))
    answers = load_reference_outputs(bundle)
    slices = answers.questions.slices[: len(answers.probability[8])]
    with way.open() as opened:
        found = opened.predict(slices)
        seconds = opened.seconds(slices[:1], 3)
        assert opened.memory_mb is None
    np.testing.assert_allclose(found, answers.probability[8], atol=1e-4)
    assert len(seconds) == 3  # of pairs of batches, which are executed at the same time
    assert min(seconds) > 0


def test_engines_and_providers_are_timed_by_the_runtime(toy_bundle, monkeypatch):
    fresh = install_fake_gpus(monkeypatch)
    for module in (runtime_ways, backend_selection):
        monkeypatch.setattr(module, "device_type", lambda: CudaDevice)
    bundle = open_bundle(toy_bundle)
    for kind in ("rtx", "tensorrt"):
        bundle = with_engines(bundle, kind)
    shape = bundle.manifest.network_shape
    slices = np.random.default_rng(0).normal(size=(3, *shape.slice_in)).astype(np.float32)
    names = []
    for way in runtime_ways.runtime_ways(bundle, [2], on_gpu=True):
        with way.open() as opened:
            found = opened.predict(slices)
            seconds = opened.seconds(slices[:2], 5)
            assert opened.memory_mb is not None
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-slices)), atol=1e-6)
        assert len(seconds) == 5
        assert min(seconds) > 0
        names.append(f"{way.name} {way.precision}")
    assert names == [
        *("rtx fp16", "tensorrt fp16"),
        *("onnxruntime-cuda fp32", "onnxruntime-cuda fp16", "onnxruntime-tensorrt fp16"),
    ]
    assert fresh.enqueued > 0  # of the engines


def test_a_way_that_fails_is_skipped_with_the_reason(tmp_path, monkeypatch):
    def fail(self, source):
        raise RuntimeError("no memory\nand much more")

    monkeypatch.setattr(ViewByView, "forward", fail)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    one = list(torch_ways(*[perturbed(small_recipe())] * 2, [1], CPU))[:1]
    monkeypatch.setattr(measure, "torch_ways", lambda *_: one)
    measured = measure_baseline(Subject(checkpoint, None, None), CPU, [1], 1, nothing, nothing)
    assert measured.rows == []
    assert measured.skipped == {str(one[0]): "no memory"}


def test_a_checkpoint_that_is_not_calibrated_is_refused(tmp_path):
    recipe = small_recipe()
    save_checkpoint(tmp_path / "checkpoint", perturbed(recipe), facts_of(recipe))
    subject = Subject(tmp_path / "checkpoint", None, None)
    with pytest.raises(ExportError, match="is not calibrated for eight views"):
        measure_baseline(subject, CPU, [1], 1, nothing, nothing)


def test_a_bundle_of_another_network_is_refused(tmp_path, toy_bundle):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    subject = Subject(checkpoint, None, open_bundle(toy_bundle))
    with pytest.raises(ExportError, match="prepares slices otherwise than"):
        measure_baseline(subject, CPU, [1], 1, nothing, nothing)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--batch", "1,x"), "--batch: is 1,x"),
        (("--batch", ""), "--batch: names no number of slices"),
        (("--device", "cuda"), "PyTorch sees no GPU"),
        (("--device", "tpu"), "--device: is tpu"),
    ],
)
def test_what_cannot_be_measured_is_refused(run_command, tmp_path, monkeypatch, options, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, errors = run_command(main, "baseline", tmp_path, *options)
    assert (status, says in errors) == (2, True), errors


def test_the_command_writes_what_it_says(tmp_path, run_command, monkeypatch):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small_recipe())
    one = list(torch_ways(*[perturbed(small_recipe())] * 2, [1], CPU))[:1]
    monkeypatch.setattr(measure, "torch_ways", lambda *_: one)
    results = tmp_path / "r.json"
    status, said, errors = run_command(
        *(main, "baseline", checkpoint, "--turns", 1, "--device", "cpu", "--results", results)
    )
    assert status == 0, errors
    (row,) = read_result(results).rows
    assert f"{row.times.median_ms:.1f} ms a slice" in said
    assert f"{row.times_faster:.2f} ×" in said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
def test_on_a_gpu_all_ways_agree_with_the_processor(tmp_path):
    recipe, gpu = small_recipe(), torch.device("cuda")
    checkpoint = write_checkpoint(tmp_path / "checkpoint", recipe)
    subject = Subject(checkpoint, None, None)
    measured = measure_baseline(subject, gpu, [1], 2, nothing, nothing)
    network = perturbed(recipe)
    assert {way.name for way in torch_ways(network, merge(network), [1], gpu)} == {
        row.name for row in measured.rows
    }
    assert measured.skipped == {}
    for row in measured.rows:
        bound = {"fp32": 0.9999, "fp16": 0.99, "bf16": 0.95}[row.precision]
        assert row.mask_dice > bound, row.name
