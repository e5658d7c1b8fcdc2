"""Engines on a GPU, a fake one: what is compiled once and kept, and what goes wrong."""

import gc
import weakref

import numpy as np
import pytest

from tests.runtime.gpus import DEVICES, install_fake_gpus
from tests.toys import TOY_SIZE_PX
from wmh_runtime.backends import tensorrt_engine
from wmh_runtime.backends.gpu.fake import FakeDevice
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.backends.tensorrt_library import load_tensorrt
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.types import NetworkShape

SHAPE = NetworkShape(channels=1, outputs=1, size_px=TOY_SIZE_PX)
SLICE = np.ones(SHAPE.slice_in, np.float32)
LOGISTIC_OF_1 = 0.7310586


@pytest.fixture
def told(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt_engine, "user_cache_folder", lambda: tmp_path / "cache")
    return install_fake_gpus(monkeypatch)


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "a.engine"
    path.write_bytes(b"engine of slices")
    return path


def make(plan, kind="rtx", device=FakeDevice, **options):
    return EngineBackend(plan, load_tensorrt(kind), device, SHAPE, **options)


def test_what_rtx_compiles_for_a_gpu_is_compiled_once(told, plan, tmp_path):
    for _ in range(2):
        with make(plan) as backend:
            assert backend.execute([SLICE]).max() == pytest.approx(LOGISTIC_OF_1)
    assert told.compiled == 1
    (kept,) = (tmp_path / "cache" / "compiled").iterdir()
    assert kept.read_bytes() == b"kernels"
    with make(plan, batch_size=2):  # other kernels
        assert told.compiled == 2


def test_what_another_driver_compiled_is_compiled_again(told, plan, tmp_path):
    with make(plan):
        (kept,) = (tmp_path / "cache" / "compiled").iterdir()
    kept.write_bytes(b"of another driver")
    with make(plan):
        assert told.compiled == 2
    assert kept.read_bytes() == b"kernels"


def test_it_executes_where_nothing_can_be_kept(told, plan, tmp_path, caplog):
    (tmp_path / "cache").write_text("in the way")
    with make(plan) as backend:
        assert backend.execute([SLICE]).max() == pytest.approx(LOGISTIC_OF_1)
    assert "what was compiled for this GPU cannot be kept" in caplog.text


def test_tensorrt_is_launched_as_one_graph(told, plan):
    with make(plan, "tensorrt") as backend:
        assert told.enqueued == 2  # once for real, once to capture
        for _ in range(5):
            assert backend.execute([SLICE]).max() == pytest.approx(LOGISTIC_OF_1)
        assert told.enqueued == 2


def test_pycuda_has_no_graphs_and_launches_each_time(told, plan):
    with make(plan, "tensorrt", DEVICES["pycuda"]) as backend:
        before = told.enqueued
        backend.execute([SLICE])
        assert told.enqueued == before + 1


def test_an_engine_that_the_library_refuses(told, plan):
    plan.write_bytes(b"something else")
    with pytest.raises(BackendError, match=r"refuses the engine \(magic tag does not match\)"):
        make(plan).__enter__()


def test_a_gpu_without_memory_for_it_is_closed_again(told, plan):
    told.has_no_memory = True
    opened = []
    with pytest.raises(BackendError, match="Fake: has too little free memory for this engine"):
        make(plan, device=lambda n: opened.append(FakeDevice(n)) or opened[0]).__enter__()
    assert opened[0].is_closed


@pytest.mark.parametrize("kind", ["rtx", "tensorrt"])
@pytest.mark.parametrize("device", DEVICES.values())
def test_nothing_of_an_engine_outlives_its_backend(told, plan, kind, device):
    gc.disable()  # the memory of a GPU does not wait for it
    try:
        with make(plan, kind, device) as backend:
            running = weakref.ref(backend._running._context)
        assert running() is None
    finally:
        gc.enable()


def test_a_batch_that_it_does_not_take(told, plan):
    with pytest.raises(BackendError, match="does not take 33 slices at a time"):
        make(plan, batch_size=33).__enter__()


def test_a_batch_that_is_refused_harms_no_other(told, plan):
    with make(plan) as backend:
        first = backend.submit([SLICE])
        told.refuses = True
        with pytest.raises(BackendError, match="Fake: refuses to execute a batch"):
            backend.submit([0 * SLICE])
        told.refuses = False
        second = backend.submit([-SLICE])
        assert first().max() == pytest.approx(LOGISTIC_OF_1)
        assert second().max() == pytest.approx(1 - LOGISTIC_OF_1)


def test_a_device_that_is_gone_is_told_as_such_and_can_be_closed(told, plan):
    opened = []
    backend = make(plan, device=lambda n: opened.append(FakeDevice(n)) or opened[0])
    with backend:
        waiting = backend.submit([SLICE])
        opened[0].is_lost = True
        with pytest.raises(DeviceLostError, match="Fake: is lost"):
            waiting()
    assert opened[0].is_closed
