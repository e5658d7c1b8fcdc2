"""Host memory that stands for GPU memory, by its address."""

import ctypes

import numpy as np

_allocations = {}


def allocate(size_bytes):
    """Allocate memory filled with NaN, so that reading it before writing shows up."""
    array = np.full(-(-size_bytes // 4), np.nan, np.float32)
    _allocations[array.ctypes.data] = array
    return array.ctypes.data


def free(address):
    del _allocations[int(address)]  # freeing it twice raises KeyError


def floats_at(address, shape):
    """View memory as an array."""
    pointer = ctypes.cast(int(address), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, shape)


def copy(target, source, size_bytes):
    ctypes.memmove(int(target), int(source), size_bytes)


def allocation_count():
    return len(_allocations)


TOTAL_BYTES = 1 << 30


def free_bytes():
    return TOTAL_BYTES - sum(array.nbytes for array in _allocations.values())
