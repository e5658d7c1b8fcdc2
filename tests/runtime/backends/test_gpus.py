"""The contract that every device keeps: fakes everywhere, the real one where there is a GPU."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.fakes import cuda_runtime, memory, pycuda_driver
from tests.runtime.gpus import DEVICES, install_fake_drivers, real_devices
from wmh_runtime.backends.gpu import driver
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.fake import STEP_S, FakeDevice
from wmh_runtime.backends.gpu.pycuda import PyCudaDevice
from wmh_runtime.errors import BackendError, DeviceLostError

REAL = real_devices()


@pytest.fixture(params=["fake", "cuda-bindings", "pycuda", *REAL])
def make_device(request, monkeypatch):
    """All but the real one are driven by fakes of their libraries."""
    if request.param in REAL:
        return REAL[request.param]
    install_fake_drivers(monkeypatch)
    return DEVICES[request.param]


@pytest.fixture
def device(make_device):
    opened = make_device(0)
    yield opened
    opened.close()


def test_what_goes_in_comes_out(device):
    with device.current():
        given, found = device.pinned((2, 3)), device.pinned((2, 3))
        place = device.memory(given.nbytes)
        given[...] = [[1, 2, 3], [4, 5, 6]]
        device.enqueue_copy_in(place, given)
        device.enqueue_copy_out(found, place)
        done = device.event()
        done.record()
        done.wait()
    np.testing.assert_array_equal(found, [[1, 2, 3], [4, 5, 6]])


def test_pinned_memory_is_zeros_of_float32(device):
    with device.current():
        pinned = device.pinned((3, 1, 4))
    assert pinned.dtype == np.float32
    assert pinned.shape == (3, 1, 4)
    assert not pinned.any()


def test_an_event_waits_for_what_was_enqueued_before_it(device):
    with device.current():
        buffers = [device.pinned((1,)) for _ in range(3)]
        place = device.memory(4)
        events = []
        for number, buffer in enumerate(buffers):
            buffer[0] = number + 1
            device.enqueue_copy_in(place, buffer)
            out = device.pinned((1,))
            device.enqueue_copy_out(out, place)
            event = device.event()
            event.record()
            events.append((event, out))
        for number, (event, out) in enumerate(events):
            event.wait()
            assert out[0] == number + 1


def test_timed_events_tell_the_time_between_them(device, request):
    with device.current():
        given = device.pinned((1,))
        place = device.memory(4)
        before, after = device.event(timed=True), device.event(timed=True)
        before.record()
        for _ in range(3):
            device.enqueue_copy_in(place, given)
        after.record()
        after.wait()
        seconds = after.seconds_since(before)
    assert seconds > 0
    if "real" not in request.node.name:
        assert seconds == pytest.approx(3 * STEP_S)


def test_memory_that_is_taken_is_not_free(device):
    with device.current():
        before = device.free_bytes()
        device.memory(1 << 24)
        assert before - device.free_bytes() >= 1 << 24


def test_what_is_replayed_is_done_again_with_what_is_there_then(device):
    with device.current():
        given, found = device.pinned((2,)), device.pinned((2,))
        place = device.memory(8)

        def enqueue():
            device.enqueue_copy_in(place, given)
            device.enqueue_copy_out(found, place)

        replay, done = device.replayable(enqueue), device.event()
        for value in (3, 4):
            given[...] = value
            replay()
            done.record()
            done.wait()
            assert found.tolist() == [value, value]


def test_a_gpu_says_what_it_is(make_device):
    (first, *_) = make_device.gpus()
    assert first.name
    assert first.target.startswith("sm")


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(make_device):
    with pytest.raises(BackendError, match=r"--device: there is no GPU 99\. Choose from: 0 \("):
        make_device(99)


def test_closing_gives_all_memory_back(monkeypatch):
    install_fake_drivers(monkeypatch)
    for kind in (CudaDevice, PyCudaDevice):
        before = memory.taken_count()
        device = kind(0)
        with device.current():
            device.memory(16)
            device.pinned((4,))
        assert memory.taken_count() > before
        device.close()
        assert memory.taken_count() == before


LOST = {
    CudaDevice: (
        cuda_runtime,
        "cudaEventSynchronize",
        cuda_runtime.cudaError_t.cudaErrorIllegalAddress,
    ),
    PyCudaDevice: (pycuda_driver, "synchronize", pycuda_driver.LaunchError("illegal address")),
}
FULL = {
    CudaDevice: (cuda_runtime, "cudaMalloc", cuda_runtime.cudaError_t.cudaErrorMemoryAllocation),
    PyCudaDevice: (pycuda_driver, "mem_alloc", pycuda_driver.MemoryError("out of memory")),
}


@pytest.mark.parametrize("kind", [CudaDevice, PyCudaDevice])
def test_a_failure_of_the_device_is_its_end(monkeypatch, kind):
    install_fake_drivers(monkeypatch)
    device = kind(0)
    with device.current():
        event = device.event()
        event.record()
        library, function, how = LOST[kind]
        library.fails[function] = how
        with pytest.raises(DeviceLostError, match=r"Fake: failed .*Check it with nvidia-smi"):
            event.wait()
    library.fails.clear()
    device.close()


@pytest.mark.parametrize("kind", [CudaDevice, PyCudaDevice])
def test_too_little_memory_is_no_end(monkeypatch, kind):
    install_fake_drivers(monkeypatch)
    library, function, how = FULL[kind]
    device = kind(0)
    library.fails[function] = how
    with device.current(), pytest.raises(BackendError, match="too little free memory") as raised:
        device.memory(16)
    assert not isinstance(raised.value, DeviceLostError)
    device.close()


def test_the_fake_has_an_end_to_its_memory_too():
    device = FakeDevice(memory_bytes=16)
    device.memory(16)
    with pytest.raises(BackendError, match="too little free memory"):
        device.memory(16)


@pytest.mark.parametrize("kind", [CudaDevice, PyCudaDevice])
def test_a_device_that_is_gone_can_still_be_closed(monkeypatch, kind):
    install_fake_drivers(monkeypatch)
    device = kind(0)
    with device.current():
        device.pinned((1,))
    before = memory.taken_count()
    cuda_runtime.fails["cudaStreamSynchronize"] = cuda_runtime.cudaError_t.cudaErrorIllegalAddress
    device.close()
    assert memory.taken_count() == before - 1  # the host's memory comes back all the same


def test_a_capture_that_fails_leaves_a_device_that_can_be_closed(monkeypatch):
    install_fake_drivers(monkeypatch)
    device, calls = CudaDevice(0), []

    def fail_at_the_second():
        calls.append(1)
        if len(calls) == 2:
            raise BackendError("refused")

    with device.current():
        device.memory(4)
        before = memory.taken_count()
        with pytest.raises(BackendError, match="refused"):
            device.replayable(fail_at_the_second)
    device.close()
    assert memory.taken_count() == before - 1


def test_what_cannot_be_captured_is_no_lost_device(monkeypatch):
    install_fake_drivers(monkeypatch)
    device = CudaDevice(0)
    cuda_runtime.fails["cudaStreamEndCapture"] = cuda_runtime.cudaError_t.cudaErrorIllegalAddress
    with device.current(), pytest.raises(BackendError, match="cannot be captured") as raised:
        device.replayable(lambda: None)
    assert not isinstance(raised.value, DeviceLostError)


def test_a_device_serves_any_thread_that_makes_it_current(device):
    with device.current():
        given, found = device.pinned((1,)), device.pinned((1,))
        place, done = device.memory(4), device.event()
    given[0] = 5

    def copy():
        with device.current():
            device.enqueue_copy_in(place, given)
            device.enqueue_copy_out(found, place)
            done.record()
            done.wait()

    with ThreadPoolExecutor(1) as other:
        other.submit(copy).result()
    assert found[0] == 5


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("cuda.bindings", "cuda-bindings: is not installed"),
        ("pycuda", r"pip install '\.\[pycuda\]'"),
    ],
)
def test_without_its_library_the_install_line_is_given(monkeypatch, module, says):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.driver", None)
    with pytest.raises(BackendError, match=says):
        (CudaDevice if module == "cuda.bindings" else PyCudaDevice).gpus()


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    install_fake_drivers(monkeypatch)
    cuda_runtime.fails["cudaGetDeviceCount"] = cuda_runtime.cudaError_t.cudaErrorNoDevice
    pycuda_driver.fails["init"] = pycuda_driver.Error("no driver")
    for kind in (CudaDevice, PyCudaDevice):
        with pytest.raises(BackendError, match="no GPU can be used"):
            kind.gpus()


def test_pycuda_drives_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(driver, "find_spec", lambda name: name)
    assert driver.device_type() is PyCudaDevice
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    assert driver.device_type() is CudaDevice  # and says what to install
