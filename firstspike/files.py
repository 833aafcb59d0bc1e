"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed."""

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from firstspike.errors import UserError

_SUFFIX = ".part"
_REMEDIES = {
    errno.ENOSPC: "no room on disk; free some space or choose a folder on another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or choose a folder on another disk",
    errno.EFBIG: "the file would be larger than this system allows; raise the limit (ulimit -f)",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another folder",
    errno.EISDIR: "a folder of that name is there; choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def write_refusal(path: str | os.PathLike[str], error: OSError) -> UserError:
    """The line that says which file could not be written, why, and what to do."""
    reason = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
    return UserError(f"cannot write {os.fspath(path)}: {reason}")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder and its parents where absent; UserError where that is impossible."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_refusal(folder, error) from error
    return folder


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well, and vanishes when it does not.

    The folder is created where absent. A disk that is full or a folder that is not writable is a UserError.
    """
    path = Path(path)
    make_folder(path.parent)
    part = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:12]}{_SUFFIX}")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is not None and error.filename != str(part):  # some other file, read by the block
            raise
        raise write_refusal(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder last through a power cut (where the system can open folders)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete the unfinished files that a killed process left; only for a folder that nobody writes to now."""
    for part in Path(folder).glob(f".*{_SUFFIX}"):
        part.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write text atomically, as UTF-8 with plain newlines."""
    write_bytes(path, content.encode())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write indented JSON atomically; numpy scalars and arrays become numbers and lists, NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, default=plain) + "\n")


def plain(value: Any) -> Any:
    """A numpy scalar or array as plain Python, for json.dumps(default=...)."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
