"""`pycuda.driver` without a GPU: it insists on a current context, as PyCUDA does."""

import threading
from types import SimpleNamespace

import numpy as np

from tests.fakes import memory
from wmh_runtime.backends.gpu.fake import STEP_S, FakeStream

event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)
names = ["Fake", "Fake"]
fails = {}  # by function: the error it raises
_here = threading.local()


def _stack():
    """The contexts of the calling thread, the current one last."""
    _here.contexts = getattr(_here, "contexts", [])
    return _here.contexts


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LaunchError(Error):
    pass


def _need_context(function):
    if function in fails:
        raise fails[function]
    if not _stack():
        raise Error("invalid device context")


def init():
    if "init" in fails:
        raise fails["init"]


class Device:
    def __init__(self, number):
        self._number = number

    @staticmethod
    def count():
        return len(names)

    def name(self):
        return names[self._number]

    def compute_capability(self):
        return 8, 9

    def retain_primary_context(self):
        return _Context()


class _Context:
    def push(self):
        _stack().append(self)

    def pop(self):
        assert _stack().pop() is self

    def detach(self):
        assert self not in _stack()


class Stream:
    def __init__(self):
        _need_context("Stream")
        (*_, context) = _stack()
        self.stream = FakeStream(lambda: _stack()[-1:] == [context])
        self.handle = self.stream.handle

    def synchronize(self):
        self.stream.do()


class Event:
    def __init__(self, flags):
        assert flags & event_flags.BLOCKING_SYNC
        self._timed = not flags & event_flags.DISABLE_TIMING
        _need_context("Event")

    def record(self, stream):
        _need_context("record")
        self._stream, self._at = stream.stream, stream.stream.end

    def synchronize(self):
        _need_context("synchronize")
        self._stream.do(self._at)

    def time_since(self, earlier):
        assert self._timed
        assert earlier._timed
        return 1e3 * STEP_S * (self._at - earlier._at)


class _Allocation:
    def __init__(self, size):
        _need_context("mem_alloc")
        self._address = memory.take(size)

    def __int__(self):
        return self._address

    def free(self):
        memory.give_back(self._address)


mem_alloc = _Allocation


def mem_get_info():
    _need_context("mem_get_info")
    return memory.free_bytes(), memory.TOTAL_BYTES


class _Pinned(np.ndarray):
    """An array whose base gives the memory back."""

    base = None


def pagelocked_zeros(shape, dtype):
    _need_context("pagelocked_zeros")
    array = np.zeros(shape, dtype).view(_Pinned)
    array.base = _Allocation(array.nbytes)
    return array


def memcpy_htod_async(to, source, stream):
    _need_context("memcpy_htod_async")
    stream.stream.enqueue(lambda: memory.copy(to, source.ctypes.data, source.nbytes))


def memcpy_dtoh_async(to, source, stream):
    _need_context("memcpy_dtoh_async")
    stream.stream.enqueue(lambda: memory.copy(to.ctypes.data, source, to.nbytes))
