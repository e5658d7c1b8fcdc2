"""`cuda.bindings.runtime` without a GPU: its status codes, its streams, and two GPUs of a kind."""

import threading
from enum import Enum
from types import SimpleNamespace

from tests.fakes import memory
from wmh_runtime.backends.gpu.fake import STEP_S, FakeStream

cudaStreamNonBlocking = 1
cudaEventDisableTiming, cudaEventBlockingSync = 2, 1
names = [b"Fake", b"Fake"]
fails = {}  # by function: the status it gives
_here = threading.local()  # the device of the calling thread


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
    """A stream, which TensorRT takes by its number."""

    def __init__(self):
        number = _here.number
        self.stream = FakeStream(lambda: getattr(_here, "number", None) == number)

    def __int__(self):
        return self.stream.handle


def _function(function):
    def called(*arguments):
        status = fails.get(function.__name__, cudaError_t.cudaSuccess)
        if status is not cudaError_t.cudaSuccess:
            return (status, None)
        asks = function.__name__.startswith("cudaGetDevice") or function is _set_device
        assert asks or hasattr(_here, "number"), "no device is current in this thread"
        given = function(*arguments)
        return (status,) if given is None else (status, given)

    return called


@_function
def cudaGetDeviceCount():
    return len(names)


@_function
def cudaGetDeviceProperties(number):
    return SimpleNamespace(name=names[number] + b"\0\0", major=8, minor=9)


def _set_device(number):
    assert number < len(names)
    _here.number = number


cudaSetDevice = _function(_set_device)


@_function
def cudaStreamCreateWithFlags(flags):
    assert flags == cudaStreamNonBlocking
    return _Handle()


@_function
def cudaStreamSynchronize(handle):
    handle.stream.do()


@_function
def cudaStreamDestroy(handle):
    assert handle.stream.end >= 0


def cudaMemGetInfo():
    return cudaError_t.cudaSuccess, memory.free_bytes(), memory.TOTAL_BYTES


@_function
def cudaMallocHost(size):
    return memory.take(size)


@_function
def cudaFreeHost(address):
    memory.give_back(address)


@_function
def cudaMalloc(size):
    return memory.take(size)


@_function
def cudaFree(address):
    memory.give_back(address)


@_function
def cudaMemcpyAsync(to, source, size, kind, handle):
    assert isinstance(kind, cudaMemcpyKind)
    handle.stream.enqueue(lambda: memory.copy(to, source, size))


@_function
def cudaEventCreateWithFlags(flags):
    assert flags & cudaEventBlockingSync
    return SimpleNamespace(stream=None, at=0, timed=not flags & cudaEventDisableTiming)


@_function
def cudaEventRecord(event, handle):
    event.stream, event.at = handle.stream, handle.stream.end


@_function
def cudaEventSynchronize(event):
    event.stream.do(event.at)


@_function
def cudaEventElapsedTime(earlier, event):
    assert earlier.timed
    assert event.timed
    return 1e3 * STEP_S * (event.at - earlier.at)


@_function
def cudaEventDestroy(event):
    event.stream = None


@_function
def cudaStreamBeginCapture(handle, mode):
    assert isinstance(mode, cudaStreamCaptureMode)
    handle.stream.captured = []


@_function
def cudaStreamEndCapture(handle):
    captured, handle.stream.captured = handle.stream.captured, None
    return captured


@_function
def cudaGraphInstantiate(graph, flags):
    assert flags == 0
    return list(graph)


@_function
def cudaGraphLaunch(executable, handle):
    for step in executable:
        handle.stream.enqueue(step)


@_function
def cudaGraphDestroy(graph):
    graph.clear()


@_function
def cudaGraphExecDestroy(executable):
    executable.clear()
