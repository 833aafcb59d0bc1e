"""IDX files, packed by gzip or not: the format of MNIST and its relatives.

A big-endian 32-bit word (0x0800 + number of dimensions, for unsigned bytes), one such word for each
dimension, then the bytes. Source: LeCun, Cortes, Burges, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import math
import struct
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from firstspike.data.cache import Mapped
from firstspike.errors import UserError

UNSIGNED_BYTES = 0x0800
IN_MEMORY = 2**28  # bytes; more are mapped from an unpacked copy in the temporary folder
CHUNK = 2**20
LARGEST = (
    2**31
)  # bytes a header may announce: more than the largest known set (814,255 images of 28x28) needs


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name.gz` or `name` in `folder`, or None. The packed one goes first: it carries a checksum."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file that must have `dimensions` dimensions (3 images, 1 labels).

    Raises UserError, naming the file, where it is damaged, truncated, too long, or not an IDX file of the
    kind.
    """
    try:
        with _open(path) as file:
            return _parse(file, path, dimensions)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a truncated or damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _open(path: Path) -> BinaryIO:
    if path.suffix != ".gz":
        return open(path, "rb")
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            raise UserError(f"{path} is not a gzip file, though its name says so; fetch it again")
    return gzip.open(path, "rb")


def _parse(file: BinaryIO, path: Path, dimensions: int) -> np.ndarray:
    header = file.read(4 * (dimensions + 1))
    if len(header) < 4 * (dimensions + 1):
        raise UserError(f"{path} is truncated: it ends within its header; fetch it again")
    magic, *shape = struct.unpack(f">{dimensions + 1}I", header)
    if magic != UNSIGNED_BYTES + dimensions:
        raise UserError(
            f"{path} is not an IDX file of {dimensions} dimensions: it starts with {magic}, "
            f"{UNSIGNED_BYTES + dimensions} was expected; fetch it again"
        )
    size = math.prod(shape)
    if size > LARGEST:
        raise UserError(
            f"{path} announces {'x'.join(map(str, shape))} bytes, more than the {LARGEST} allowed"
        )
    data = np.frombuffer(file.read(size + 1), np.uint8) if size <= IN_MEMORY else _mapped(file, size)
    if len(data) != size:
        found = f"only {len(data)}" if len(data) < size else "more"
        raise UserError(
            f"{path} announces {'x'.join(map(str, shape))} = {size} bytes but holds {found}; fetch it again"
        )
    return data.reshape(shape)


def _mapped(file: BinaryIO, size: int) -> np.ndarray:
    """The rest of a file, up to `size` bytes and perhaps some more, without holding it in memory."""
    held = 0
    with tempfile.TemporaryFile() as copy:
        while held <= size and (chunk := file.read(CHUNK)):
            held += copy.write(chunk)
        return Mapped(copy, np.uint8, 0, (held,)) if held else np.empty(0, np.uint8)
