"""A fake of `pycuda.driver`. It requires a current context, as PyCUDA does."""

import threading
from types import SimpleNamespace

import numpy as np

from tests.fakes import memory
from wmh_runtime.backends.gpu.fake import STEP_S, FakeStream

event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)
names = ["Fake", "Fake"]
failures = {}  # function name: error that it raises
_thread_state = threading.local()


def _contexts():
    """Return the contexts of the calling thread, the current one last."""
    _thread_state.contexts = getattr(_thread_state, "contexts", [])
    return _thread_state.contexts


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LaunchError(Error):
    pass


def _require_context(function):
    if function in failures:
        raise failures[function]
    if not _contexts():
        raise Error("invalid device context")


def init():
    if "init" in failures:
        raise failures["init"]


class Device:
    def __init__(self, index):
        self._index = index

    @staticmethod
    def count():
        return len(names)

    def name(self):
        return names[self._index]

    def compute_capability(self):
        return 8, 9

    def retain_primary_context(self):
        return _Context()


class _Context:
    def push(self):
        _contexts().append(self)

    def pop(self):
        assert _contexts().pop() is self

    def detach(self):
        assert self not in _contexts()


class Stream:
    def __init__(self):
        _require_context("Stream")
        (*_, context) = _contexts()
        self.stream = FakeStream(lambda: _contexts()[-1:] == [context])
        self.handle = self.stream.handle

    def synchronize(self):
        self.stream.run()


class Event:
    def __init__(self, flags):
        assert flags & event_flags.BLOCKING_SYNC
        self._timed = not flags & event_flags.DISABLE_TIMING
        _require_context("Event")

    def record(self, stream):
        _require_context("record")
        self._stream, self._position = stream.stream, stream.stream.enqueued_count

    def synchronize(self):
        _require_context("synchronize")
        self._stream.run(self._position)

    def time_since(self, earlier):
        assert self._timed
        assert earlier._timed
        return 1e3 * STEP_S * (self._position - earlier._position)


class _Allocation:
    def __init__(self, size):
        _require_context("mem_alloc")
        self._address = memory.allocate(size)

    def __int__(self):
        return self._address

    def free(self):
        memory.free(self._address)


mem_alloc = _Allocation


def mem_get_info():
    _require_context("mem_get_info")
    return memory.free_bytes(), memory.TOTAL_BYTES


class _Pinned(np.ndarray):
    """An array whose base frees the memory."""

    base = None


def pagelocked_zeros(shape, dtype):
    _require_context("pagelocked_zeros")
    array = np.zeros(shape, dtype).view(_Pinned)
    array.base = _Allocation(array.nbytes)
    return array


def memcpy_htod_async(address, source, stream):
    _require_context("memcpy_htod_async")
    stream.stream.enqueue(lambda: memory.copy(address, source.ctypes.data, source.nbytes))


def memcpy_dtoh_async(target, address, stream):
    _require_context("memcpy_dtoh_async")
    stream.stream.enqueue(lambda: memory.copy(target.ctypes.data, address, target.nbytes))
