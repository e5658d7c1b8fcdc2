"""Copies and computation of a batch, timed with events of the GPU."""

import itertools

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus, with_engines
from wmh_bench.timing import batch_times
from wmh_bench.timing.batch_times import GpuTimes, batches_per_second, time_single_batches
from wmh_bench.timing.gpu_timer import GpuTimer, timed_driver
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.fake import STEP_S, FakeDevice
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import build_unverified
from wmh_runtime.types import NetworkShape


def test_each_part_of_a_batch_is_timed_on_its_own():
    timer = GpuTimer()
    device = timed_driver(FakeDevice, timer)(0)

    def enqueue_batch(steps):
        device.enqueue_copy_to_device(address, pinned)
        for _ in range(steps):  # each takes a millisecond on the clock of the fake device
            device._enqueue(lambda: None)
        device.enqueue_copy_to_host(pinned, address)

    with device.activate():
        pinned = device.allocate_pinned((4,))
        address = device.allocate(pinned.nbytes)
        enqueue_batch(9)  # is not recorded
        with timer.recording():
            enqueue_batch(3)
            device.enqueue_copy_to_device(address, pinned)  # a batch that failed: no copy back
            enqueue_batch(5)
        enqueue_batch(9)  # is not recorded
    batches = timer.batch_seconds()
    assert [one.to_device_s for one in batches] == pytest.approx([STEP_S] * 2)
    assert [one.compute_s for one in batches] == pytest.approx([3 * STEP_S, 5 * STEP_S])
    assert [one.from_device_s for one in batches] == pytest.approx([STEP_S] * 2)
    assert all(one.enqueue_s > 0 for one in batches)
    with timer.recording():
        assert timer.batch_seconds() == []


@pytest.mark.parametrize("name", ["rtx", "tensorrt", "onnxruntime-cuda"])
def test_gpu_backends_are_timed_and_their_output_does_not_change(toy_bundle, monkeypatch, name):
    install_fake_gpus(monkeypatch)
    bundle, timer = load_bundle(toy_bundle), GpuTimer()
    for kind in ("rtx", "tensorrt"):
        bundle = with_engines(bundle, kind)
    options = BackendOptions(
        views=8, precision="fp16", batch_size=2, driver=timed_driver(CudaDevice, timer)
    )
    (backend,) = build_unverified(bundle, name, options)
    slices = (
        np.random.default_rng(0).normal(size=(2, *backend.shape.input_shape)).astype(np.float32)
    )
    with backend:
        times, gpu_times = time_single_batches(backend, list(slices), timer, min_duration_s=0.001)
        rate = batches_per_second(backend, itertools.repeat(list(slices)), 0.001)
        probability = backend.predict(slices)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-slices[:, :1])), atol=1e-6)
    assert times.repetitions >= 10
    assert (gpu_times.to_device_ms, gpu_times.from_device_ms) == (1, 1)  # a step each
    is_onnxruntime = name == "onnxruntime-cuda"  # blocks, and computes on its own stream
    assert gpu_times.compute_ms == (0 if is_onnxruntime else 1)
    assert (gpu_times.enqueue_ms is None) is is_onnxruntime
    assert all("host" not in warning for warning in gpu_times.warnings) or not is_onnxruntime
    assert rate > 0


def test_a_cpu_has_no_gpu_times():
    with FakeBackend(NetworkShape(channels=1, outputs=1, size_px=2)) as backend:
        square = np.zeros((1, 2, 2), np.float32)
        times, gpu_times = time_single_batches(backend, [square], GpuTimer(), min_duration_s=0.001)
    assert gpu_times is None
    assert times.repetitions >= 10


class TwoStreams:
    """Executes two batches at the same time and returns them together, one pair per round."""

    num_streams, max_in_flight, round_s = 2, 3, 0.25

    def __init__(self):
        self.now_s = 100.0
        self.done = 0

    def perf_counter(self):
        return self.now_s

    def execute_all(self, batches):
        in_flight = 0
        for _ in batches:
            if in_flight == self.max_in_flight:
                yield self._finish_batch()
                in_flight -= 1
            in_flight += 1
        for _ in range(in_flight):
            yield self._finish_batch()

    def _finish_batch(self):
        self.done += 1
        self.now_s = 100 + self.round_s * -(-self.done // self.num_streams)


@pytest.mark.parametrize("min_duration_s", [0.0, 0.5, 0.7, 1.0, 1.3, 5.0])
def test_only_whole_rounds_are_counted(monkeypatch, min_duration_s):
    """Two batches per 0.25 s are eight per second, for any minimum duration."""
    backend = TwoStreams()
    monkeypatch.setattr(batch_times, "time", backend)
    assert batches_per_second(backend, itertools.repeat([]), min_duration_s) == 8
    # Four warm up; at least six are counted; three more are in flight at the end.
    assert backend.done == 4 + max(6, 2 * -(-min_duration_s // backend.round_s)) + 3


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ((1, 10, 1, 5), []),
        ((1, 10, 1, 8.1), ["enqueueing takes 8.1 ms, computing 10 ms"]),
        ((1, 10, 1, None), []),
        ((1, 0, 1, None), ["copies take 2 ms, computing 0 ms"]),
        ((6, 10, 5, 1), ["copies take 11 ms, computing 10 ms"]),
    ],
)
def test_a_gpu_that_is_not_used_fully_has_warnings(milliseconds, expected):
    names = ("to_device_ms", "compute_ms", "from_device_ms", "enqueue_ms")
    warnings = GpuTimes(**dict(zip(names, milliseconds, strict=True))).warnings
    assert len(warnings) == len(expected)
    assert all(warning.startswith(start) for warning, start in zip(warnings, expected, strict=True))
