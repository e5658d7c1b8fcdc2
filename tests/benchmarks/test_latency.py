"""How fast a bundle is executed: that what is said is what was executed."""

import os

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus, with_engines
from wmh_bench import latency
from wmh_bench.ceilings.matmul_ceiling import Ceiling
from wmh_bench.cli import main
from wmh_bench.environment import Model
from wmh_bench.latency import Combination, How, Refusal, combinations, measure_latency
from wmh_bench.machine import this_machine
from wmh_bench.results import read_result
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.errors import BundleError, NoGpuError
from wmh_runtime.machine import available_cores

HOW = How(least_s=0.001, slices_a_scan=10, threads=None, gpu=0)
ROW = "onnxruntime fp32, 8 views, 2 slices at a time"


@pytest.fixture
def here(monkeypatch):
    """Measure in this process."""
    monkeypatch.setattr(latency, "_apart", latency._told)
    monkeypatch.setattr(
        latency,
        "measure_ceiling",
        lambda backend, precision, *_: Ceiling(
            backend=backend, device="cpu", precision=precision, side=1, products=8, tflop_per_s=2.0
        ),
    )


def test_all_is_combined_but_what_a_backend_never_has():
    found = combinations([], [], (1, 8), ())
    assert Combination("openvino", "int8+bf16", 8, 1) in found
    assert Combination("onnxruntime", "int8", 1, 1) in found
    assert {way.batch for way in found if way.backend == "rtx"} == {1, 4}
    assert not [way for way in found if (way.backend, way.precision) == ("rtx", "fp32")]
    assert combinations(["onnxruntime"], ["bf16"], (8,), (2,)) == []
    assert [str(way) for way in combinations(["onnxruntime"], ["fp32"], (8,), (2,))] == [ROW]


def test_a_row_says_what_was_executed_and_what_that_comes_to(toy_bundle, here, monkeypatch):
    facts = Model.of(open_bundle(toy_bundle)).model_copy(update={"gflop_a_view": 5.0})
    monkeypatch.setattr(Model, "of", lambda _: facts)
    monkeypatch.setattr(latency, "batches_per_s", lambda *_: 3.0)
    told = []
    ways = [Combination("onnxruntime", "fp32", 8, 2)]
    measured = measure_latency(open_bundle(toy_bundle), ways, HOW, lambda _, new: told.append(new))
    assert told == [*measured.ceilings, *measured.rows]
    (row,) = measured.rows
    assert (row.backend, row.precision, row.views, row.batch) == ("onnxruntime", "fp32", 8, 2)
    # Three batches a second of two slices, of eight views each; ten slices a scan.
    assert row.slices_per_s == 6
    assert row.views_per_s == 48
    assert row.scans_per_hour == 2160
    # 48 views of 5 GFLOP: 0.24 of 2 TFLOP/s.
    assert row.tflop_per_s == pytest.approx(0.24)
    assert row.share_of_products == pytest.approx(0.12)
    assert (row.share_of_peak, row.parts, row.device_memory_mb) == (None, None, None)
    assert row.mask_dice == 1  # the toy's answers are its own
    assert row.refused == ""
    assert row.times.timed >= 10
    assert 0 < row.times.fastest_ms <= row.times.median_ms <= row.times.p90_ms
    assert row.host_memory_mb == pytest.approx(peak_resident_bytes() / 1e6, rel=0.1)
    assert row.num_streams == min(2, available_cores())
    assert measured.threads == available_cores()


def test_what_is_not_here_is_skipped_once_with_the_reason(toy_bundle, here):
    ways = combinations(["tensorrt", "onnxruntime"], [], (1, 8), ())
    measured = measure_latency(open_bundle(toy_bundle), ways, HOW, lambda *_: None)
    assert [(row.precision, row.views) for row in measured.rows] == [("fp32", 1), ("fp32", 8)]
    assert "is not installed" in measured.skipped["tensorrt"]
    int8 = [what for what in measured.skipped if what.startswith("onnxruntime int8")]
    assert len(int8) == 2  # the toy has no such graph
    assert len(measured.skipped) == 3


def test_a_gpu_is_timed_in_parts_and_its_memory_said(toy_bundle, here, monkeypatch):
    install_fake_gpus(monkeypatch)
    monkeypatch.setattr(latency, "device_type", lambda: CudaDevice)
    bundle = with_engines(open_bundle(toy_bundle), "rtx")
    monkeypatch.setattr(latency, "open_bundle", lambda _: bundle)
    measured = measure_latency(bundle, [Combination("rtx", "fp16", 8, 4)], HOW, lambda *_: None)
    (row,) = measured.rows
    assert row.device == "Fake"
    assert (row.parts.to_device_ms, row.parts.compute_ms, row.parts.from_device_ms) == (1, 1, 1)
    # Four slices of 32 × 32 float32 in, as many out, and nothing else: two times 16 kB, and pinned
    # memory, which the fake takes from the same place, twice as much.
    assert row.device_memory_mb == pytest.approx(6 * 4 * 32 * 32 * 4 / 1e6, abs=0.05)
    assert row.mask_dice == 1
    assert [ceiling.precision for ceiling in measured.ceilings] == ["fp16"]
    assert row.share_of_products is None  # they were another device's


def test_a_precision_is_compared_with_the_best_of_all_backends_on_its_device(toy_bundle, here):
    ways = combinations(["onnxruntime"], ["fp32"], (8,), (1,))
    row = measure_latency(open_bundle(toy_bundle), ways, HOW, lambda *_: None).rows[0]
    row = row.model_copy(update={"tflop_per_s": 1.0, "precision": "int8+bf16"})

    def ceiling(precision, rate, device="cpu"):
        return Ceiling(
            backend="b", device=device, precision=precision, side=1, products=8, tflop_per_s=rate
        )

    ceilings = [ceiling("int8", 2), ceiling("int8", 4), ceiling("int8", 9, "gpu")]
    ceilings.append(ceiling("fp32", 8))
    assert latency._beside_products(row, ceilings).share_of_products == 0.25


@pytest.mark.parametrize(
    ("error", "says", "is_of_backend"),
    [
        (NoGpuError("there is no GPU", "Buy one."), "there is no GPU. Buy one.", True),
        (BundleError("has no graph", about="/home/of/somebody"), "has no graph.", False),
        (MemoryError("no memory\nat all"), "MemoryError: no memory", False),
    ],
)
def test_an_error_of_any_kind_is_a_refusal_without_paths(error, says, is_of_backend):
    def fail():
        raise error

    assert latency._told(fail) == Refusal(says, is_of_backend)


def test_a_batch_alone_has_all_threads(toy_bundle, here, monkeypatch):
    opened = []

    class Telling(OnnxRuntimeBackend):
        def _open(self):
            opened.append(self.num_streams)
            super()._open()

    monkeypatch.setattr(latency, "build_unverified", lambda bundle, _, wanted: [
        Telling.of_bundle(bundle, views=8, num_streams=wanted.num_streams, threads=4)
    ])  # fmt: skip
    ways = [Combination("onnxruntime", "fp32", 8, 1)]
    measure_latency(open_bundle(toy_bundle), ways, HOW, lambda *_: None)
    assert opened == [2, 1]


def ends_its_process():
    os._exit(9)


def test_a_process_that_is_ended_is_a_refusal_and_no_more():
    found = latency._apart(ends_its_process)
    assert isinstance(found, Refusal)
    assert "its process was ended" in found.reason


def test_each_runs_in_a_process_of_its_own():
    assert latency._apart(os.getpid) != os.getpid()


def test_the_command_writes_what_it_says(toy_bundle, tmp_path, run_command):
    results = tmp_path / "new" / "r.json"
    call = (main, "latency", toy_bundle, "--backend", "onnxruntime", "--precision", "fp32")
    status, said, errors = run_command(*call, "--seconds", 0.01, "--views", 8, "--results", results)
    assert status == 0, errors
    measured = read_result(results)
    (row,) = measured.rows
    (ceiling,) = measured.ceilings
    assert row.share_of_products == pytest.approx(row.tflop_per_s / ceiling.tflop_per_s, abs=1e-3)
    assert f"{row.slices_per_s:.4g}" in said
    assert "onnxruntime fp32, 8 views, 1 slice" in said
    assert measured.circumstances.model.name == "toy"
    assert measured.circumstances.machine.processor == this_machine().processor
    assert np.isfinite(row.first_s)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--views", "2"), "--views: is 2. Give 1, 8 or 1,8."),
        (("--batch", "0"), "--batch: is 0"),
        (("--backend", "cuda"), "--backend: there is no backend cuda"),
        (("--precision", "fp64"), "--precision: is fp64"),
        (("--backend", "rtx", "--precision", "fp32"), "nothing is left to measure"),
        (("--backend", "tensorrt"), "nothing could be measured"),
        (("--results", "."), ".: is a folder. Give a file to write."),
    ],
)
def test_what_cannot_be_measured_is_refused(toy_bundle, run_command, options, says):
    status, _, errors = run_command(main, "latency", toy_bundle, *options)
    assert status == 2
    assert says in errors
