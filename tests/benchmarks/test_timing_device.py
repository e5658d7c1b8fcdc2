"""Copies and computing told apart by the device's own events."""

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus, with_engines
from wmh_bench.batch_times import Parts, batches_per_s, time_alone
from wmh_bench.timing_device import Marks, timing
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle import open_bundle
from wmh_runtime.devices.cuda import CudaDevice
from wmh_runtime.devices.fake import STEP_S, FakeDevice
from wmh_runtime.execution import Wanted, unproven
from wmh_runtime.types import NetworkShape


def test_each_part_takes_the_steps_that_are_in_it():
    marks = Marks()
    device = timing(FakeDevice, marks)(0)
    with device.current():
        pinned = device.pinned((4,))
        place = device.memory(pinned.nbytes)
        for computing in (3, 5):  # steps, each of a millisecond of the fake's clock
            device.enqueue_copy_in(place, pinned)
            for _ in range(computing):
                device._enqueue(lambda: None)
            device.enqueue_copy_out(pinned, place)
    parts = marks.parts()
    assert [one.to_device_s for one in parts] == pytest.approx([STEP_S] * 2)
    assert [one.compute_s for one in parts] == pytest.approx([3 * STEP_S, 5 * STEP_S])
    assert [one.from_device_s for one in parts] == pytest.approx([STEP_S] * 2)
    assert all(one.enqueue_s > 0 for one in parts)
    marks.forget()
    assert marks.parts() == []


@pytest.mark.parametrize("name", ["rtx", "tensorrt", "onnxruntime-cuda"])
def test_backends_of_gpus_are_timed_in_parts_and_give_the_same(toy_bundle, monkeypatch, name):
    install_fake_gpus(monkeypatch)
    bundle, marks = open_bundle(toy_bundle), Marks()
    for kind in ("rtx", "tensorrt"):
        bundle = with_engines(bundle, kind)
    wanted = Wanted(views=8, precision="fp16", batch_size=2, driver=timing(CudaDevice, marks))
    (backend,) = unproven(bundle, name, wanted)
    slices = np.random.default_rng(0).normal(size=(2, *backend.shape.slice_in)).astype(np.float32)
    with backend:
        times, parts = time_alone(backend, list(slices), marks, least_s=0.001)
        per_s = batches_per_s(backend, list(slices), times, 0.001)
        found = backend.predict(slices)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-slices[:, :1])), atol=1e-6)
    assert times.timed >= 10
    assert (parts.to_device_ms, parts.from_device_ms) == (1, 1)  # a step each
    computes = 0 if name == "onnxruntime-cuda" else 1  # on a stream of its own
    assert parts.compute_ms == computes
    assert per_s > 0


def test_a_processor_has_no_parts():
    with FakeBackend(NetworkShape(channels=1, outputs=1, size_px=2)) as backend:
        square = np.zeros((1, 2, 2), np.float32)
        times, parts = time_alone(backend, [square], Marks(), least_s=0.001)
    assert parts is None
    assert times.timed >= 10


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((1, 10, 1, 5), []),
        ((1, 10, 1, 8.1), ["enqueueing takes 81% of computing"]),
        ((6, 10, 5, 1), ["copies take 11 ms, computing 10"]),
    ],
)
def test_what_trtexec_warns_of_is_said(parts, says):
    names = ("to_device_ms", "compute_ms", "from_device_ms", "enqueue_ms")
    warnings = Parts(**dict(zip(names, parts, strict=True))).warnings
    assert [warning.startswith(start) for warning, start in zip(warnings, says, strict=True)] == [
        True
    ] * len(says)
