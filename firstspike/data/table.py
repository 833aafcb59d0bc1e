"""The table of image data sets: a name, how its files are found or fetched, and how they are read.

A new data set is one more row. `register` takes it; `load` and `list_datasets` know nothing else. A row
whose name ends in a colon takes what follows it, mostly a path.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firstspike.data.dataset import Dataset, as_size, resized
from firstspike.errors import UserError


@dataclass(frozen=True)
class Request:
    """What a reader may need to know: the arguments of `load`, and the path behind a name with a colon."""

    name: str
    root: Path
    path: Path
    download: bool = True
    image_size: tuple[int, int] | None = None
    seed: int = 0
    steps: int = 15
    skip_bad: bool = False
    cache: Path | None = None


@dataclass(frozen=True)
class Row:
    """A data set: `read` finds its files, fetches them where it may, and reads them.

    Of a name that ends in a colon `takes` says what follows.
    """

    name: str
    read: Callable[[Request], Dataset]
    takes: str = "PATH"


_rows: dict[str, Row] = {}


def register(row: Row) -> None:
    """Add a data set; a name that is taken is an error."""
    if row.name in _rows:
        raise ValueError(f"data set {row.name} is registered already")
    _rows[row.name] = row


def list_datasets() -> list[str]:
    """All registered names; those that take a path (`folder:PATH`, `events:PATH`) come on top of them."""
    return sorted(name for name in _rows if not name.endswith(":"))


def default_root() -> Path:
    """$FIRSTSPIKE_DATA, else `data`."""
    return Path(os.environ.get("FIRSTSPIKE_DATA") or "data")


def load(
    name: str,
    root: str | Path | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    download: bool = True,
    steps: int = 15,
    skip_bad: bool = False,
    cache: str | Path | None = None,
) -> Dataset:
    """The data set called `name`; `folder:PATH`: images in class folders, `events:PATH`: N-MNIST-like files.

    `root` (default $FIRSTSPIKE_DATA, else `data`) holds the files in torchvision's layout; absent ones
    are downloaded if `download`. `image_size` (rows = columns, or both) resizes; `seed` splits a folder
    without train/ and test/. Of event data come latencies in `steps` time bins; `skip_bad` leaves out
    their bad recordings, `cache` is a folder for what takes long to read. Raises DataMissing (a
    UserError) for files that are neither there nor to be fetched, UserError for damaged ones.
    """
    prefix, colon, rest = name.partition(":")
    row = _rows.get(prefix + colon)
    if row is None or bool(colon) != bool(rest):
        open_ended = [f"{known}{_rows[known].takes}" for known in sorted(_rows) if known.endswith(":")]
        raise UserError(f"unknown data set {name!r}; there are {', '.join(list_datasets() + open_ended)}")
    size = None if image_size is None else as_size(image_size)
    place = Path(root).expanduser() if root is not None else default_root()
    path = Path(rest).expanduser()
    request = Request(
        name, place, path, download, size, seed, steps, skip_bad, Path(cache) if cache else None
    )
    try:
        dataset = row.read(request)
    except OSError as error:
        raise UserError(
            f"data set {name}: {error.filename or 'a file'} cannot be read: {error.strerror}"
        ) from error
    return dataset if size is None else resized(dataset, size)
