"""Host memory in the place of a GPU's, by its address."""

import ctypes

import numpy as np

_taken = {}


def take(size_bytes):
    """Take memory, filled with what is no number: nothing was written there yet."""
    array = np.full(-(-size_bytes // 4), np.nan, np.float32)
    _taken[array.ctypes.data] = array
    return array.ctypes.data


def give_back(address):
    del _taken[int(address)]  # twice is an error


def floats_at(address, shape):
    """See memory as an array."""
    place = ctypes.cast(int(address), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(place, shape)


def copy(to, source, size_bytes):
    ctypes.memmove(int(to), int(source), size_bytes)


def taken_count():
    return len(_taken)


TOTAL_BYTES = 1 << 30


def free_bytes():
    return TOTAL_BYTES - sum(array.nbytes for array in _taken.values())
