"""A fake of `cuda.bindings.runtime`: its status codes, its streams, and two GPUs of one model."""

import threading
from enum import Enum
from types import SimpleNamespace

from tests.fakes import memory
from wmh_runtime.backends.gpu.fake import STEP_S, FakeStream

cudaStreamNonBlocking = 1
cudaEventDisableTiming, cudaEventBlockingSync = 2, 1
names = [b"Fake", b"Fake"]
failures = {}  # function name: status that it returns
_thread_state = threading.local()  # the current device of the calling thread


class cudaError_t(Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700


class cudaMemcpyKind(Enum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(Enum):
    cudaStreamCaptureModeThreadLocal = 1


class _Handle:
    """A stream. TensorRT takes its handle as an integer."""

    def __init__(self):
        index = _thread_state.index
        self.stream = FakeStream(lambda: getattr(_thread_state, "index", None) == index)

    def __int__(self):
        return self.stream.handle


def _cuda_function(function):
    """Return the function with a status before its result, as the CUDA runtime does."""

    def call(*arguments):
        status = failures.get(function.__name__, cudaError_t.cudaSuccess)
        if status is not cudaError_t.cudaSuccess:
            return (status, None)
        needs_device = not (
            function.__name__.startswith("cudaGetDevice") or function is _set_device
        )
        has_device = hasattr(_thread_state, "index")
        assert has_device or not needs_device, "no device is current in this thread"
        result = function(*arguments)
        return (status,) if result is None else (status, result)

    return call


@_cuda_function
def cudaGetDeviceCount():
    return len(names)


@_cuda_function
def cudaGetDeviceProperties(index):
    return SimpleNamespace(name=names[index] + b"\0\0", major=8, minor=9)


def _set_device(index):
    assert index < len(names)
    _thread_state.index = index


cudaSetDevice = _cuda_function(_set_device)


@_cuda_function
def cudaStreamCreateWithFlags(flags):
    assert flags == cudaStreamNonBlocking
    return _Handle()


@_cuda_function
def cudaStreamSynchronize(handle):
    handle.stream.run()


@_cuda_function
def cudaStreamDestroy(handle):
    assert handle.stream.enqueued_count >= 0


def cudaMemGetInfo():
    return cudaError_t.cudaSuccess, memory.free_bytes(), memory.TOTAL_BYTES


@_cuda_function
def cudaMallocHost(size):
    return memory.allocate(size)


@_cuda_function
def cudaFreeHost(address):
    memory.free(address)


@_cuda_function
def cudaMalloc(size):
    return memory.allocate(size)


@_cuda_function
def cudaFree(address):
    memory.free(address)


@_cuda_function
def cudaMemcpyAsync(target, source, size, kind, handle):
    assert isinstance(kind, cudaMemcpyKind)
    handle.stream.enqueue(lambda: memory.copy(target, source, size))


@_cuda_function
def cudaEventCreateWithFlags(flags):
    assert flags & cudaEventBlockingSync
    return SimpleNamespace(stream=None, position=0, timed=not flags & cudaEventDisableTiming)


@_cuda_function
def cudaEventRecord(event, handle):
    event.stream, event.position = handle.stream, handle.stream.enqueued_count


@_cuda_function
def cudaEventSynchronize(event):
    event.stream.run(event.position)


@_cuda_function
def cudaEventElapsedTime(earlier, event):
    assert earlier.timed
    assert event.timed
    return 1e3 * STEP_S * (event.position - earlier.position)


@_cuda_function
def cudaEventDestroy(event):
    event.stream = None


@_cuda_function
def cudaStreamBeginCapture(handle, mode):
    assert isinstance(mode, cudaStreamCaptureMode)
    handle.stream.captured = []


@_cuda_function
def cudaStreamEndCapture(handle):
    captured, handle.stream.captured = handle.stream.captured, None
    return captured


@_cuda_function
def cudaGraphInstantiate(graph, flags):
    assert flags == 0
    return list(graph)


@_cuda_function
def cudaGraphLaunch(executable, handle):
    for step in executable:
        handle.stream.enqueue(step)


@_cuda_function
def cudaGraphDestroy(graph):
    graph.clear()


@_cuda_function
def cudaGraphExecDestroy(executable):
    executable.clear()
