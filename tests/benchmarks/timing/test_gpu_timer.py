"""Copies and computing told apart by the device's own events."""

import itertools

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus, with_engines
from wmh_bench.timing import batch_times
from wmh_bench.timing.batch_times import Parts, batches_per_s, time_alone
from wmh_bench.timing.timing_device import Marks, timing
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.fake import STEP_S, FakeDevice
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.inference.backend_selection import BackendOptions, build_unverified
from wmh_runtime.types import NetworkShape


def test_each_part_takes_the_steps_that_are_in_it():
    marks = Marks()
    device = timing(FakeDevice, marks)(0)

    def batch(computing):
        device.enqueue_copy_in(place, pinned)
        for _ in range(computing):  # steps, each of a millisecond of the fake's clock
            device._enqueue(lambda: None)
        device.enqueue_copy_out(pinned, place)

    with device.current():
        pinned = device.pinned((4,))
        place = device.memory(pinned.nbytes)
        batch(9)  # nobody asked
        with marks.made():
            batch(3)
            device.enqueue_copy_in(place, pinned)  # a batch that failed before it came out
            batch(5)
        batch(9)
    parts = marks.parts()
    assert [one.to_device_s for one in parts] == pytest.approx([STEP_S] * 2)
    assert [one.compute_s for one in parts] == pytest.approx([3 * STEP_S, 5 * STEP_S])
    assert [one.from_device_s for one in parts] == pytest.approx([STEP_S] * 2)
    assert all(one.enqueue_s > 0 for one in parts)
    with marks.made():
        assert marks.parts() == []


@pytest.mark.parametrize("name", ["rtx", "tensorrt", "onnxruntime-cuda"])
def test_backends_of_gpus_are_timed_in_parts_and_give_the_same(toy_bundle, monkeypatch, name):
    install_fake_gpus(monkeypatch)
    bundle, marks = open_bundle(toy_bundle), Marks()
    for kind in ("rtx", "tensorrt"):
        bundle = with_engines(bundle, kind)
    wanted = BackendOptions(
        views=8, precision="fp16", batch_size=2, driver=timing(CudaDevice, marks)
    )
    (backend,) = build_unverified(bundle, name, wanted)
    slices = np.random.default_rng(0).normal(size=(2, *backend.shape.slice_in)).astype(np.float32)
    with backend:
        times, parts = time_alone(backend, list(slices), marks, least_s=0.001)
        per_s = batches_per_s(backend, itertools.repeat(list(slices)), 0.001)
        found = backend.predict(slices)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-slices[:, :1])), atol=1e-6)
    assert times.timed >= 10
    assert (parts.to_device_ms, parts.from_device_ms) == (1, 1)  # a step each
    by_onnxruntime = name == "onnxruntime-cuda"  # on a stream of its own, until it is done
    assert parts.compute_ms == (0 if by_onnxruntime else 1)
    assert (parts.enqueue_ms is None) is by_onnxruntime
    assert all("host" not in warning for warning in parts.warnings) or not by_onnxruntime
    assert per_s > 0


def test_a_processor_has_no_parts():
    with FakeBackend(NetworkShape(channels=1, outputs=1, size_px=2)) as backend:
        square = np.zeros((1, 2, 2), np.float32)
        times, parts = time_alone(backend, [square], Marks(), least_s=0.001)
    assert parts is None
    assert times.timed >= 10


class InStep:
    """Executes two batches at the same time, which are done at the same time, a round a tick."""

    num_streams, max_in_flight, tick_s = 2, 3, 0.25

    def __init__(self):
        self.now_s = 100.0
        self.done = 0

    def perf_counter(self):
        return self.now_s

    def execute_all(self, batches):
        waiting = 0
        for _ in batches:
            if waiting == self.max_in_flight:
                yield self._one()
                waiting -= 1
            waiting += 1
        for _ in range(waiting):
            yield self._one()

    def _one(self):
        self.done += 1
        self.now_s = 100 + self.tick_s * -(-self.done // self.num_streams)


@pytest.mark.parametrize("least_s", [0.0, 0.5, 0.7, 1.0, 1.3, 5.0])
def test_whole_rounds_are_counted_however_long_it_is_timed(monkeypatch, least_s):
    """Two batches a tick of a quarter of a second are eight a second, whenever one stops."""
    backend = InStep()
    monkeypatch.setattr(batch_times, "time", backend)
    assert batches_per_s(backend, itertools.repeat([]), least_s) == 8
    # Four warm up; six at least, or as many as it takes; three more are under way at the end.
    assert backend.done == 4 + max(6, 2 * -(-least_s // backend.tick_s)) + 3


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((1, 10, 1, 5), []),
        ((1, 10, 1, 8.1), ["enqueueing takes 8.1 ms, computing 10"]),
        ((1, 10, 1, None), []),
        ((1, 0, 1, None), ["copies take 2 ms, computing 0"]),
        ((6, 10, 5, 1), ["copies take 11 ms, computing 10"]),
    ],
)
def test_what_trtexec_warns_of_is_said(parts, says):
    names = ("to_device_ms", "compute_ms", "from_device_ms", "enqueue_ms")
    warnings = Parts(**dict(zip(names, parts, strict=True))).warnings
    assert [warning.startswith(start) for warning, start in zip(warnings, says, strict=True)] == [
        True
    ] * len(says)
