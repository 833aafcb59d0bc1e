"""Large arrays whose memory is used again: a page that the system hands out fresh costs more than the arithmetic on it.

A buffer is free as soon as nothing outside the pool refers to it, which its reference count tells; so an array (or a
tensor made of it) may be kept, viewed, saved for a backward pass or handed to anyone for as long as they like.
"""

import ctypes
import math
import sys
import threading

import numpy as np
from numpy.typing import DTypeLike

SMALLEST = 1 << 20
"""Bytes below which memory comes from the allocator, which keeps small pieces anyway."""

LIMIT = 1 << 31
"""Bytes of free buffers above which the oldest are given back to the system."""

_ALIGN = 64
"""Bytes at whose multiples arrays begin: a matrix product's last bits may depend on where its factors begin."""


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's settings


def keep_freed_memory() -> None:
    """Have glibc keep what torch frees, up to LIMIT bytes, for the tensors of the next batch.

    Else it maps every tensor of some megabytes anew. Other C libraries are left alone.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if change is not None:
        change(_TRIM_THRESHOLD, LIMIT - 1)
        change(_MMAP_MAX, 0)


class Pool:
    """Buffers by size class (eighths of a power of two), the most recently used last."""

    def __init__(self) -> None:
        self._buffers: list[np.ndarray] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Return an uninitialised contiguous array."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < SMALLEST:
            return _begun(np.empty(size + _ALIGN, np.uint8), shape, dtype)
        with self._lock:
            return _begun(self._take(_size_class(size + _ALIGN)), shape, dtype)

    def aligned(self, array: np.ndarray) -> np.ndarray:
        """Return the array, or a copy of it, contiguous and so placed that results do not depend on its place."""
        if array.flags.c_contiguous and array.ctypes.data % _ALIGN == 0:
            return array
        out = self.empty(array.shape, array.dtype)
        out[...] = array
        return out

    def clear(self) -> None:
        """Give every free buffer back to the system."""
        with self._lock:
            self._trim(0)

    def free_bytes(self) -> int:
        """Return how many bytes lie ready."""
        return sum(self._buffers[k].nbytes for k in range(len(self._buffers)) if self._is_free(k))

    def _is_free(self, k: int) -> bool:
        return sys.getrefcount(self._buffers[k]) <= 2  # the list and the argument of the call

    def _take(self, size: int) -> np.ndarray:
        for k in range(len(self._buffers) - 1, -1, -1):
            if self._buffers[k].nbytes == size and self._is_free(k):
                self._buffers.append(self._buffers.pop(k))
                return self._buffers[-1]
        self._trim(LIMIT)
        self._buffers.append(np.empty(size, np.uint8))
        return self._buffers[-1]

    def _trim(self, limit: int) -> None:
        excess = self.free_bytes() - limit
        for k in [k for k in range(len(self._buffers)) if self._is_free(k)]:
            if excess <= 0:
                break
            excess -= self._buffers[k].nbytes
            self._buffers[k] = np.empty(0, np.uint8)
        self._buffers = [buffer for buffer in self._buffers if buffer.nbytes]


def _begun(data: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the first aligned bytes of a buffer as an array."""
    start, size = -data.ctypes.data % _ALIGN, math.prod(shape) * dtype.itemsize
    return data[start : start + size].view(dtype).reshape(shape)


def _size_class(size: int) -> int:
    step = 1 << max((size - 1).bit_length() - 4, 12)
    return -(-size // step) * step


POOL = Pool()
"""The pool that batches, and the outputs and gradients of recurrences, are taken from."""
