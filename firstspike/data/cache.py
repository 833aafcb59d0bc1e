"""Arrays that are costly to make, kept on disk between runs: encoded images, outputs of frozen layers.

One file for each key: 4,096 bytes of header (JSON with shape, type, key and checksum of the data, behind
a digest of itself), then the data. It is written in chunks to a temporary file beside its place; the
header comes last, then flush, then rename. So what is found under its name is whole, two runs at once do
no harm, and whatever is damaged afterwards fails its checks and is made anew.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import mmap
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import firstspike
from firstspike.errors import UserError
from firstspike.files import atomic_write, make_folder, write_refusal

MAGIC = b"1SPCACH1"
HEADER = 4096  # bytes; a page, so that the data are aligned for mapping
CHUNK = 16 * 2**20  # bytes made, written and checked at a time
MOST_ROWS = 1000  # rows made at a time, however small they are
IN_MEMORY = 2**30  # bytes; a larger array is mapped from its file unless the caller sets another budget
ABANDONED = 3600.0  # seconds without a write until a temporary file is taken for a killed run's

Fill = Callable[[slice], np.ndarray]
Progress = Callable[[int, int], None]


class Encoder(Protocol):
    """What turns uint8 images (N, H, W) or (N, C, H, W) into uint8 latencies (N, C', H', W')."""

    steps: int
    channels: int
    key: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encode a batch."""
        ...


def latencies(
    images: np.ndarray,
    encoder: Encoder,
    *,
    folder: str | Path | None,
    name: str,
    memory_budget: int | None = None,
    progress: Progress | None = None,
    required: bool = False,
) -> np.ndarray:
    """Latencies of `images`, uint8 (N, C, H, W), encoded at most once for each (images, encoder, version).

    `name` only makes the file recognisable; the other arguments are those of `cached_array`.
    """
    blank = np.zeros((1, *images.shape[1:]), np.uint8)
    return cached_array(
        f"latencies {array_digest(images)} {encoder.key} steps={encoder.steps}",
        (len(images), *encoder(blank).shape[1:]),
        np.uint8,
        lambda rows: encoder(images[rows]),
        folder=folder,
        name=name,
        memory_budget=memory_budget,
        progress=progress,
        required=required,
    )


def cached_array(
    key: str,
    shape: tuple[int, ...],
    dtype: np.typing.DTypeLike,
    fill: Fill,
    *,
    folder: str | Path | None,
    name: str,
    memory_budget: int | None = None,
    progress: Progress | None = None,
    required: bool = False,
) -> np.ndarray:
    """The array of `shape` that `fill` makes chunk by chunk, from its file in `folder` if there.

    `fill(rows)` gives the rows of a slice along the first axis; `progress(done, total)` hears of each
    chunk. Larger than `memory_budget` bytes (default 1 GiB) the result is `Mapped`, else it is in memory.
    Where the folder cannot be written or the disk is full, the array is made in memory, or, if `required`,
    a UserError is raised; `folder=None` means memory only.
    """
    key = f"{key} {shape} firstspike={firstspike.__version__}"
    dtype = np.dtype(dtype)
    budget = IN_MEMORY if memory_budget is None else memory_budget
    chunks = _Chunks(fill, shape, dtype, progress)
    if folder is None:
        return chunks.in_memory()
    path = Path(folder) / f"{_slug(name)}-{_hash(key.encode())}.cache"
    found = _read(path, key, shape, dtype, budget)
    if found is not None:
        return found
    try:
        _write(path, key, chunks)
        made = _read(path, key, shape, dtype, budget)
    except UserError:
        if required:
            raise
        made = None
    return chunks.in_memory() if made is None else made


def array_digest(array: np.ndarray) -> str:
    """A digest of an array's type, shape and content, read in chunks (mapped arrays stay on disk)."""
    digest = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=16)
    for rows in _slices(array.shape, array.dtype):
        digest.update(np.ascontiguousarray(array[rows]).data)
    return digest.hexdigest()


class Mapped(np.memmap):
    """An array in a file that gives its pages back whenever it is indexed again: a pass over it takes no memory.

    Copy on write, because compiled code needs no second version for read-only arrays; what is written into it may be
    lost, the file stays as it is.
    """

    def __new__(cls, file: Any, dtype: np.typing.DTypeLike, offset: int, shape: tuple[int, ...]) -> Mapped:
        """Map so much of a file, given by its path or open, from an offset on."""
        return super().__new__(cls, file, dtype, "c", offset, shape)

    def __getitem__(self, index: Any) -> Any:
        """Rows as of any array: slices are views of the file, rows by number are copies in memory."""
        if self._mmap is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mmap.madvise(mmap.MADV_DONTNEED)
        found = super().__getitem__(index)
        copied = isinstance(found, Mapped) and found._mmap is None
        return found.view(np.ndarray) if copied else found


class _Chunks:
    """The rows of an array, made a slice at a time by `fill`."""

    def __init__(
        self, fill: Fill, shape: tuple[int, ...], dtype: np.dtype, progress: Progress | None
    ) -> None:
        self.fill, self.shape, self.dtype, self.progress = fill, shape, dtype, progress

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        for rows in _slices(self.shape, self.dtype):
            chunk = np.ascontiguousarray(self.fill(rows))
            if chunk.dtype != self.dtype or chunk.shape != (rows.stop - rows.start, *self.shape[1:]):
                raise ValueError(f"rows {rows.start}:{rows.stop} came as {chunk.dtype} {chunk.shape}")
            yield rows, chunk
            if self.progress:
                self.progress(rows.stop, self.shape[0])

    def in_memory(self) -> np.ndarray:
        out = np.empty(self.shape, self.dtype)
        for rows, chunk in self:
            out[rows] = chunk
        return out


def _slices(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[slice]:
    row = max(1, math.prod(shape[1:]) * dtype.itemsize)
    step = min(max(1, CHUNK // row), MOST_ROWS)
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _write(path: Path, key: str, chunks: _Chunks) -> None:
    """Write the file of `key`; UserError, with nothing left behind, where the disk refuses."""
    make_folder(path.parent)
    _sweep(path)
    if shutil.disk_usage(path.parent).free < HEADER + math.prod(chunks.shape) * chunks.dtype.itemsize:
        raise write_refusal(path, OSError(errno.ENOSPC, "no room"))
    with atomic_write(path) as file:
        file.write(bytes(HEADER))
        checksum = 0
        for _, chunk in chunks:
            checksum = zlib.crc32(chunk.data, checksum)
            file.write(chunk.data)
        file.seek(0)
        file.write(_header(key, chunks.shape, chunks.dtype, checksum))


def _sweep(path: Path) -> None:
    """Remove the temporary files that killed runs left for this key."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def _header(key: str, shape: tuple[int, ...], dtype: np.dtype, checksum: int) -> bytes:
    fields = {"key": _hash(key.encode()), "shape": shape, "dtype": dtype.name, "crc32": checksum}
    text = json.dumps(fields).encode()
    return (MAGIC + _hash(text).encode() + text).ljust(HEADER)


def _read(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype, budget: int) -> np.ndarray | None:
    """The array in the file at `path` if it is whole and the one wanted, else None."""
    size = math.prod(shape) * dtype.itemsize
    try:
        if path.stat().st_size != HEADER + size:
            return None
        with open(path, "rb") as file:
            checksum = _checksum_of(file.read(HEADER), key, shape, dtype)
        if checksum is None:
            return None
        array = (
            Mapped(path, dtype, HEADER, shape)
            if size > budget
            else np.fromfile(path, dtype, offset=HEADER).reshape(shape)
        )
    except (OSError, ValueError):
        return None
    return array if _crc32(array) == checksum else None


def _checksum_of(header: bytes, key: str, shape: tuple[int, ...], dtype: np.dtype) -> int | None:
    digest, text = header[len(MAGIC) :][:32], header[len(MAGIC) + 32 :].rstrip(b" ")
    if not header.startswith(MAGIC) or _hash(text).encode() != digest:
        return None
    fields = json.loads(text)
    wanted = {"key": _hash(key.encode()), "shape": list(shape), "dtype": dtype.name}
    return fields["crc32"] if wanted.items() <= fields.items() else None


def _crc32(array: np.ndarray) -> int:
    checksum = 0
    for rows in _slices(array.shape, array.dtype):
        checksum = zlib.crc32(array[rows].data, checksum)
    return checksum


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-40:]
