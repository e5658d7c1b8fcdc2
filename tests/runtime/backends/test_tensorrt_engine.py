"""Engines on a fake GPU: the kernel cache, CUDA graphs and errors."""

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
SLICE = np.ones(SHAPE.input_shape, np.float32)
LOGISTIC_OF_1 = 0.7310586


@pytest.fixture
def state(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt_engine, "user_cache_folder", lambda: tmp_path / "cache")
    return install_fake_gpus(monkeypatch)


@pytest.fixture
def engine_path(tmp_path):
    path = tmp_path / "a.engine"
    path.write_bytes(b"engine of slices")
    return path


def make(engine_path, kind="rtx", device=FakeDevice, **options):
    return EngineBackend(engine_path, load_tensorrt(kind), device, SHAPE, **options)


def test_rtx_kernels_are_compiled_once(state, engine_path, tmp_path):
    for _ in range(2):
        with make(engine_path) as backend:
            assert backend.execute([SLICE]).max() == pytest.approx(LOGISTIC_OF_1)
    assert state.compiled == 1
    (cache_file,) = (tmp_path / "cache" / "compiled").iterdir()
    assert cache_file.read_bytes() == b"kernels"
    with make(engine_path, batch_size=2):  # other kernels
        assert state.compiled == 2


def test_kernels_of_another_driver_are_compiled_again(state, engine_path, tmp_path):
    with make(engine_path):
        (cache_file,) = (tmp_path / "cache" / "compiled").iterdir()
    cache_file.write_bytes(b"of another driver")
    with make(engine_path):
        assert state.compiled == 2
    assert cache_file.read_bytes() == b"kernels"


def test_engine_executes_without_a_writable_cache(state, engine_path, tmp_path, caplog):
    (tmp_path / "cache").write_text("in the way")
    with make(engine_path) as backend:
        assert backend.execute([SLICE]).max() == pytest.approx(LOGISTIC_OF_1)
    assert "the kernels compiled for this GPU cannot be stored" in caplog.text


def test_tensorrt_launches_a_cuda_graph(state, engine_path):
    with make(engine_path, "tensorrt") as backend:
        assert state.enqueued == 2  # the first run and the capture
        for _ in range(5):
            assert backend.execute([SLICE]).max() == pytest.approx(LOGISTIC_OF_1)
        assert state.enqueued == 2


def test_pycuda_enqueues_without_cuda_graphs(state, engine_path):
    with make(engine_path, "tensorrt", DEVICES["pycuda"]) as backend:
        before = state.enqueued
        backend.execute([SLICE])
        assert state.enqueued == before + 1


def test_rejected_engine_raises_an_error(state, engine_path):
    engine_path.write_bytes(b"something else")
    with pytest.raises(BackendError, match=r"rejects the engine \(magic tag does not match\)"):
        make(engine_path).__enter__()


def test_gpu_is_closed_if_it_has_too_little_memory(state, engine_path):
    state.has_no_memory = True
    opened = []
    with pytest.raises(BackendError, match="Fake: has too little free memory for this engine"):
        make(engine_path, device=lambda n: opened.append(FakeDevice(n)) or opened[0]).__enter__()
    assert opened[0].is_closed


@pytest.mark.parametrize("kind", ["rtx", "tensorrt"])
@pytest.mark.parametrize("device", DEVICES.values())
def test_closing_the_backend_frees_the_engine(state, engine_path, kind, device):
    gc.disable()  # GPU memory must be freed without garbage collection
    try:
        with make(engine_path, kind, device) as backend:
            context = weakref.ref(backend._engine._context)
        assert context() is None
    finally:
        gc.enable()


def test_batch_larger_than_the_profile_raises_an_error(state, engine_path):
    with pytest.raises(BackendError, match="does not take 33 slices at a time"):
        make(engine_path, batch_size=33).__enter__()


def test_failed_batch_does_not_affect_others(state, engine_path):
    with make(engine_path) as backend:
        first = backend.submit([SLICE])
        state.fails = True
        with pytest.raises(BackendError, match="Fake: failed to enqueue a batch"):
            backend.submit([0 * SLICE])
        state.fails = False
        second = backend.submit([-SLICE])
        assert first().max() == pytest.approx(LOGISTIC_OF_1)
        assert second().max() == pytest.approx(1 - LOGISTIC_OF_1)


def test_lost_device_raises_device_lost_and_can_be_closed(state, engine_path):
    opened = []
    backend = make(engine_path, device=lambda n: opened.append(FakeDevice(n)) or opened[0])
    with backend:
        wait = backend.submit([SLICE])
        opened[0].is_lost = True
        with pytest.raises(DeviceLostError, match="Fake: is lost"):
            wait()
    assert opened[0].is_closed
