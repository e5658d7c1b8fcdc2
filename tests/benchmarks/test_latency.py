"""The latency measurement: combinations, rows, failures."""

import os

import numpy as np
import pytest

from tests.benchmarks.small_ceiling import measure_small_ceiling
from tests.runtime.gpus import install_fake_gpus, with_engines
from wmh_bench.ceilings.matmul_ceiling import Ceiling
from wmh_bench.cli import main
from wmh_bench.commands.latency import _estimate
from wmh_bench.environment import Model
from wmh_bench.latency import combination, isolated, measure
from wmh_bench.latency.combination import Combination, LatencyOptions
from wmh_bench.latency.isolated import Failure
from wmh_bench.latency.measure import list_combinations, measure_latency, with_ceiling_share
from wmh_bench.machine import describe_machine
from wmh_bench.results import read_result
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.errors import BundleError, NoGpuError
from wmh_runtime.machine import available_cores

OPTIONS = LatencyOptions(min_duration_s=0.001, slices_per_scan=10, threads=None, gpu_index=0)


def ceiling(precision, tflop_per_s, device="cpu", backend="b"):
    return Ceiling(
        backend=backend,
        device=device,
        precision=precision,
        matrix_size=1,
        matmuls_per_batch=8,
        tflop_per_s=tflop_per_s,
    )


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure in this process, with a matmul ceiling of 2 TFLOP/s."""
    monkeypatch.setattr(measure, "call_in_process", isolated.call)
    monkeypatch.setattr(
        measure,
        "measure_ceiling",
        lambda backend, precision, *_: ceiling(precision, 2.0, backend=backend),
    )


def test_combinations_have_only_precisions_that_the_backend_has():
    found = list_combinations([], [], (1, 8), ())
    assert Combination("openvino", "int8+bf16", 8, 1) in found
    assert Combination("onnxruntime", "int8", 1, 1) in found
    assert {one.batch_size for one in found if one.backend == "rtx"} == {1, 4}
    assert not [one for one in found if (one.backend, one.precision) == ("rtx", "fp32")]
    assert list_combinations(["onnxruntime"], ["bf16"], (8,), (2,)) == []
    (one,) = list_combinations(["onnxruntime"], ["fp32"], (8,), (2,))
    assert str(one) == "onnxruntime fp32, 8 views, 2 slices per batch"


def test_a_row_has_all_speeds_and_shares(toy_bundle, in_this_process, monkeypatch):
    model = Model.from_bundle(load_bundle(toy_bundle)).model_copy(update={"gflop_per_view": 5.0})
    monkeypatch.setattr(Model, "from_bundle", lambda _: model)
    monkeypatch.setattr(combination, "batches_per_second", lambda *_: 3.0)
    reported = []
    combinations = [Combination("onnxruntime", "fp32", 8, 2)]
    measured = measure_latency(
        load_bundle(toy_bundle), combinations, OPTIONS, lambda _, new: reported.append(new)
    )
    assert reported == [*measured.ceilings, *measured.rows]
    (row,) = measured.rows
    assert (row.backend, row.precision, row.views, row.batch_size) == ("onnxruntime", "fp32", 8, 2)
    # Three batches per second, two slices per batch, eight views per slice; ten slices per scan.
    assert row.slices_per_s == 6
    assert row.views_per_s == 48
    assert row.scans_per_hour == 2160
    # 48 views of 5 GFLOP are 0.24 TFLOP/s; the ceiling is 2 TFLOP/s.
    assert row.tflop_per_s == pytest.approx(0.24)
    assert row.share_of_matmul_ceiling == pytest.approx(0.12)
    assert (row.share_of_peak, row.gpu_times, row.device_memory_mb) == (None, None, None)
    assert row.mask_dice == 1  # the reference outputs are those of the toy network
    assert row.refused == ""
    assert row.times.repetitions >= 10
    assert 0 < row.times.fastest_ms <= row.times.median_ms <= row.times.p90_ms
    assert row.host_memory_mb == pytest.approx(peak_resident_bytes() / 1e6, rel=0.1)
    assert row.num_streams == min(2, available_cores())
    assert measured.threads == available_cores()


def test_a_missing_backend_is_skipped_once_with_the_reason(toy_bundle, in_this_process):
    combinations = list_combinations(["tensorrt", "onnxruntime"], [], (1, 8), ())
    measured = measure_latency(load_bundle(toy_bundle), combinations, OPTIONS, lambda *_: None)
    assert [(row.precision, row.views) for row in measured.rows] == [("fp32", 1), ("fp32", 8)]
    assert "is not installed" in measured.skipped["tensorrt"]
    int8 = [name for name in measured.skipped if name.startswith("onnxruntime int8")]
    assert len(int8) == 2  # the toy bundle has no such graph
    assert len(measured.skipped) == 3


def test_times_and_memory_of_a_gpu(toy_bundle, in_this_process, monkeypatch):
    install_fake_gpus(monkeypatch)
    monkeypatch.setattr(combination, "device_type", lambda: CudaDevice)
    bundle = with_engines(load_bundle(toy_bundle), "rtx")
    monkeypatch.setattr(combination, "load_bundle", lambda _: bundle)
    combinations = [Combination("rtx", "fp16", 8, 4)]
    measured = measure_latency(bundle, combinations, OPTIONS, lambda *_: None)
    (row,) = measured.rows
    assert row.device == "Fake"
    times = row.gpu_times
    assert (times.to_device_ms, times.compute_ms, times.from_device_ms) == (1, 1, 1)
    # Four slices of 32 × 32 float32 in and as many out: two times 16 kB. The fake device counts
    # pinned memory too, twice as much.
    assert row.device_memory_mb == pytest.approx(6 * 4 * 32 * 32 * 4 / 1e6, abs=0.05)
    assert row.mask_dice == 1
    assert [one.precision for one in measured.ceilings] == ["fp16"]
    assert row.share_of_matmul_ceiling is None  # the ceiling is of another device


def test_the_share_is_of_the_highest_ceiling_on_the_device(toy_bundle, in_this_process):
    combinations = list_combinations(["onnxruntime"], ["fp32"], (8,), (1,))
    row = measure_latency(load_bundle(toy_bundle), combinations, OPTIONS, lambda *_: None).rows[0]
    row = row.model_copy(update={"tflop_per_s": 1.0, "precision": "int8+bf16"})
    ceilings = [ceiling("int8", 2), ceiling("int8", 4), ceiling("int8", 9, "gpu")]
    ceilings.append(ceiling("fp32", 8))
    assert with_ceiling_share(row, ceilings).share_of_matmul_ceiling == 0.25


@pytest.mark.parametrize(
    ("error", "reason", "is_backend_missing"),
    [
        (NoGpuError("there is no GPU", "Buy one."), "there is no GPU. Buy one.", True),
        (BundleError("has no graph", about="/home/of/somebody"), "has no graph.", False),
        (MemoryError("no memory\nat all"), "MemoryError: no memory", False),
    ],
)
def test_every_error_becomes_a_failure_without_paths(error, reason, is_backend_missing):
    def fail():
        raise error

    assert isolated.call(fail) == Failure(reason, is_backend_missing)


def test_a_single_batch_has_all_threads(toy_bundle, in_this_process, monkeypatch):
    num_streams = []

    class RecordingBackend(OnnxRuntimeBackend):
        def _open(self):
            num_streams.append(self.num_streams)
            super()._open()

    monkeypatch.setattr(combination, "build_unverified", lambda bundle, _, options: [
        RecordingBackend.from_bundle(bundle, views=8, num_streams=options.num_streams, threads=4)
    ])  # fmt: skip
    combinations = [Combination("onnxruntime", "fp32", 8, 1)]
    measure_latency(load_bundle(toy_bundle), combinations, OPTIONS, lambda *_: None)
    assert num_streams == [2, 1]


def crash():
    os._exit(9)


def test_a_crashed_process_is_a_failure():
    failure = isolated.call_in_process(crash)
    assert isinstance(failure, Failure)
    assert "the process crashed" in failure.reason


def test_a_function_is_called_in_another_process():
    assert isolated.call_in_process(os.getpid) != os.getpid()


def test_the_command_prints_the_results_that_it_writes(
    toy_bundle, tmp_path, run_command, monkeypatch
):
    monkeypatch.setattr(measure, "measure_ceiling", measure_small_ceiling)
    results = tmp_path / "new" / "r.json"
    call = (main, "latency", toy_bundle, "--backend", "onnxruntime", "--precision", "fp32")
    status, output, errors = run_command(
        *call, "--seconds", 0.01, "--views", 8, "--results", results
    )
    assert status == 0, errors
    measured = read_result(results)
    (row,) = measured.rows
    (products,) = measured.ceilings
    assert row.share_of_matmul_ceiling == pytest.approx(
        row.tflop_per_s / products.tflop_per_s, rel=0.02
    )
    assert f"{row.slices_per_s:.4g}" in output
    assert "onnxruntime fp32, 8 views, 1 slice" in output
    assert measured.environment.model.name == "toy"
    assert measured.environment.machine.cpu == describe_machine().cpu
    assert np.isfinite(row.first_batch_s)


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_options_without_anything_to_measure_are_refused(toy_bundle, run_command, options, message):
    status, _, errors = run_command(main, "latency", toy_bundle, *options)
    assert status == 2
    assert message in errors


def test_the_estimate_counts_processes_and_timings():
    # 20 combinations and 10 ceilings: (2 · 20 + 10) · 6 s of timing, and 30 starts of 3 s: 390 s.
    combinations = [
        Combination(f"backend {number}", "fp32", views, 1)
        for number in range(10)
        for views in (1, 8)
    ]
    assert _estimate(combinations, 6).startswith("20 combinations to measure, each in its own")
    assert "at least 7 min" in _estimate(combinations, 6)
