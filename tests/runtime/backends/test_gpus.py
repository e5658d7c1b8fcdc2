"""The contract that every device class keeps, with fake GPUs and with real ones if present."""

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
    """Return a device class. All but the real ones use fakes of their libraries."""
    if request.param in REAL:
        return REAL[request.param]
    install_fake_drivers(monkeypatch)
    return DEVICES[request.param]


@pytest.fixture
def device(make_device):
    opened = make_device(0)
    yield opened
    opened.close()


def test_copy_to_the_device_and_back(device):
    with device.activate():
        inputs, outputs = device.allocate_pinned((2, 3)), device.allocate_pinned((2, 3))
        address = device.allocate(inputs.nbytes)
        inputs[...] = [[1, 2, 3], [4, 5, 6]]
        device.enqueue_copy_to_device(address, inputs)
        device.enqueue_copy_to_host(outputs, address)
        done = device.create_event()
        done.record()
        done.wait()
    np.testing.assert_array_equal(outputs, [[1, 2, 3], [4, 5, 6]])


def test_pinned_memory_is_float32_zeros(device):
    with device.activate():
        pinned = device.allocate_pinned((3, 1, 4))
    assert pinned.dtype == np.float32
    assert pinned.shape == (3, 1, 4)
    assert not pinned.any()


def test_event_waits_for_the_work_enqueued_before_it(device):
    with device.activate():
        buffers = [device.allocate_pinned((1,)) for _ in range(3)]
        address = device.allocate(4)
        events = []
        for number, buffer in enumerate(buffers):
            buffer[0] = number + 1
            device.enqueue_copy_to_device(address, buffer)
            out = device.allocate_pinned((1,))
            device.enqueue_copy_to_host(out, address)
            event = device.create_event()
            event.record()
            events.append((event, out))
        for number, (event, out) in enumerate(events):
            event.wait()
            assert out[0] == number + 1


def test_timed_events_measure_the_time_between_them(device, request):
    with device.activate():
        inputs = device.allocate_pinned((1,))
        address = device.allocate(4)
        before, after = device.create_event(timed=True), device.create_event(timed=True)
        before.record()
        for _ in range(3):
            device.enqueue_copy_to_device(address, inputs)
        after.record()
        after.wait()
        seconds = after.seconds_since(before)
    assert seconds > 0
    if "real" not in request.node.name:
        assert seconds == pytest.approx(3 * STEP_S)


def test_allocation_reduces_the_free_memory(device):
    with device.activate():
        before = device.free_bytes()
        device.allocate(1 << 24)
        assert before - device.free_bytes() >= 1 << 24


def test_replay_repeats_the_work_on_the_current_content(device):
    with device.activate():
        inputs, outputs = device.allocate_pinned((2,)), device.allocate_pinned((2,))
        address = device.allocate(8)

        def enqueue():
            device.enqueue_copy_to_device(address, inputs)
            device.enqueue_copy_to_host(outputs, address)

        replay, done = device.capture(enqueue), device.create_event()
        for value in (3, 4):
            inputs[...] = value
            replay()
            done.record()
            done.wait()
            assert outputs.tolist() == [value, value]


def test_list_gpus_returns_name_and_compute_capability(make_device):
    (first, *_) = make_device.list_gpus()
    assert first.name
    assert first.target.startswith("sm")


def test_missing_gpu_error_lists_the_gpus(make_device):
    with pytest.raises(BackendError, match=r"gpus: there is no GPU 99\. Choose from: 0 \("):
        make_device(99)


def test_close_frees_all_memory(monkeypatch):
    install_fake_drivers(monkeypatch)
    for kind in (CudaDevice, PyCudaDevice):
        before = memory.allocation_count()
        device = kind(0)
        with device.activate():
            device.allocate(16)
            device.allocate_pinned((4,))
        assert memory.allocation_count() > before
        device.close()
        assert memory.allocation_count() == before


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
def test_gpu_failure_raises_device_lost(monkeypatch, kind):
    install_fake_drivers(monkeypatch)
    device = kind(0)
    with device.activate():
        event = device.create_event()
        event.record()
        library, function, failure = LOST[kind]
        library.failures[function] = failure
        with pytest.raises(DeviceLostError, match=r"Fake: failed .*Check it with nvidia-smi"):
            event.wait()
    library.failures.clear()
    device.close()


@pytest.mark.parametrize("kind", [CudaDevice, PyCudaDevice])
def test_too_little_memory_is_not_a_lost_device(monkeypatch, kind):
    install_fake_drivers(monkeypatch)
    library, function, failure = FULL[kind]
    device = kind(0)
    library.failures[function] = failure
    with device.activate(), pytest.raises(BackendError, match="too little free memory") as raised:
        device.allocate(16)
    assert not isinstance(raised.value, DeviceLostError)
    device.close()


def test_fake_gpu_has_limited_memory():
    device = FakeDevice(memory_bytes=16)
    device.allocate(16)
    with pytest.raises(BackendError, match="too little free memory"):
        device.allocate(16)


@pytest.mark.parametrize("kind", [CudaDevice, PyCudaDevice])
def test_lost_device_can_be_closed(monkeypatch, kind):
    install_fake_drivers(monkeypatch)
    device = kind(0)
    with device.activate():
        device.allocate_pinned((1,))
    before = memory.allocation_count()
    failure = cuda_runtime.cudaError_t.cudaErrorIllegalAddress
    cuda_runtime.failures["cudaStreamSynchronize"] = failure
    device.close()
    assert memory.allocation_count() == before - 1  # the host memory is freed


def test_device_can_be_closed_after_a_failed_capture(monkeypatch):
    install_fake_drivers(monkeypatch)
    device, calls = CudaDevice(0), []

    def fail_at_second_call():
        calls.append(1)
        if len(calls) == 2:
            raise BackendError("failed")

    with device.activate():
        device.allocate(4)
        before = memory.allocation_count()
        with pytest.raises(BackendError, match="failed"):
            device.capture(fail_at_second_call)
    device.close()
    assert memory.allocation_count() == before - 1


def test_failed_capture_is_not_a_lost_device(monkeypatch):
    install_fake_drivers(monkeypatch)
    device = CudaDevice(0)
    cuda_runtime.failures["cudaStreamEndCapture"] = cuda_runtime.cudaError_t.cudaErrorIllegalAddress
    with device.activate(), pytest.raises(BackendError, match="cannot be captured") as raised:
        device.capture(lambda: None)
    assert not isinstance(raised.value, DeviceLostError)


def test_any_thread_can_use_an_activated_device(device):
    with device.activate():
        inputs, outputs = device.allocate_pinned((1,)), device.allocate_pinned((1,))
        address, done = device.allocate(4), device.create_event()
    inputs[0] = 5

    def copy():
        with device.activate():
            device.enqueue_copy_to_device(address, inputs)
            device.enqueue_copy_to_host(outputs, address)
            done.record()
            done.wait()

    with ThreadPoolExecutor(1) as other:
        other.submit(copy).result()
    assert outputs[0] == 5


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("cuda.bindings", "cuda-bindings is not installed"),
        ("pycuda", r'pip install "wmh-lora\[pycuda\]"'),
    ],
)
def test_missing_library_error_says_how_to_install(monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.driver", None)
    with pytest.raises(BackendError, match=message):
        (CudaDevice if module == "cuda.bindings" else PyCudaDevice).list_gpus()


def test_without_a_driver_no_gpu_can_be_used(monkeypatch):
    install_fake_drivers(monkeypatch)
    cuda_runtime.failures["cudaGetDeviceCount"] = cuda_runtime.cudaError_t.cudaErrorNoDevice
    pycuda_driver.failures["init"] = pycuda_driver.Error("no driver")
    for kind in (CudaDevice, PyCudaDevice):
        with pytest.raises(BackendError, match="no GPU can be used"):
            kind.list_gpus()


@pytest.mark.parametrize(
    ("installed", "kind"),
    [
        (["cuda.bindings", "pycuda"], CudaDevice),
        (["cuda.bindings"], CudaDevice),
        (["pycuda"], PyCudaDevice),
        ([], CudaDevice),  # its error says how to install it
    ],
)
@pytest.mark.parametrize("has_cuda_package", [True, False])
def test_pycuda_is_used_only_if_it_alone_is_installed(
    monkeypatch, installed, kind, has_cuda_package
):
    def find_spec(name):
        if name == "cuda.bindings" and name not in installed and not has_cuda_package:
            raise ModuleNotFoundError("No module named 'cuda'")
        return name if name in installed else None

    monkeypatch.setattr(driver, "find_spec", find_spec)
    assert driver.device_type() is kind
