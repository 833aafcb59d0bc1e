"""The records of finished runs: one line of JSON each, appended and flushed to disk, so that a kill loses none."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firstspike.errors import UserError
from firstspike.files import make_folder, write_refusal

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None


@dataclass(frozen=True)
class Record:
    """How a run ended: ``status`` done, abandoned (below ``floor``: accuracy, epochs) or failed (``error`` says why).

    ``settings`` are all that decide what it computes; accuracies are fractions, None where there is none.
    """

    settings: Mapping[str, Any]
    status: str
    seconds: float
    epochs: int = 0
    validation: float | None = None
    test: float | None = None
    silent: float | None = None
    floor: tuple[float, int] | None = None
    error: str = ""

    @property
    def key(self) -> str:
        """What its settings are known by."""
        return key_of(self.settings)


def key_of(settings: Mapping[str, Any]) -> str:
    """A short name of settings, the same whatever their order."""
    text = json.dumps(dict(settings), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def read_records(content: bytes, path: str | os.PathLike[str]) -> tuple[list[Record], int]:
    """Records in a file's content, and how many bytes they take: a last one that was cut short does not count.

    A line before it that is no record is a UserError.
    """
    records, length = [], 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        record = _parsed(line)
        if record is not None:
            records.append(record)
            length += len(line)
        elif line.endswith(b"\n"):
            raise UserError(f"{path}: line {number} is no record: remove it, and its run is done again")
    return records, length


def _parsed(line: bytes) -> Record | None:
    try:
        fields = json.loads(line)
        floor = None if fields["floor"] is None else tuple(fields["floor"])
        return Record(**{**fields, "floor": floor})
    except (ValueError, TypeError, KeyError):
        return None


def recorded(path: Path) -> dict[str, Record]:
    """The last record of every run in a file, by its key; none where there is no file."""
    known = read_records(path.read_bytes(), path)[0] if path.is_file() else []
    return {record.key: record for record in known}


class Log:
    """A file of records, held open by one sweep at a time."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self.path = path
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by close)
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{path}: another sweep is at work in this folder: wait for its end") from error
        except OSError as error:
            raise write_refusal(path, error) from error
        content = path.read_bytes()
        _, length = read_records(content, path)
        self._file.truncate(length)
        if length and not content[:length].endswith(b"\n"):
            self._append(b"\n")
        self.records = recorded(path)

    def add(self, record: Record) -> None:
        """Append a record; it is on disk when this returns."""
        self._append(json.dumps(asdict(record)).encode() + b"\n")

    def _append(self, content: bytes) -> None:
        try:
            self._file.write(content)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_refusal(self.path, error) from error

    def close(self) -> None:
        """Let another sweep have the file."""
        self._file.close()
