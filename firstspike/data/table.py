"""The table of image data sets: a name, how its files are found or fetched, and how they are read.

A new data set is one more row. `register` takes it; `load` and `list_datasets` know nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firstspike.data import images
from firstspike.data.dataset import Dataset, as_size, resized
from firstspike.data.folders import load_folder
from firstspike.errors import UserError

FOLDER = "folder:"

Reader = Callable[[Path, bool], Dataset]


@dataclass(frozen=True)
class Row:
    """A data set: `read(root, download)` finds its files, fetches them if it may, reads them."""

    name: str
    read: Reader


_rows: dict[str, Row] = {}


def register(row: Row) -> None:
    """Add a data set; a name that is taken is an error."""
    if row.name in _rows:
        raise ValueError(f"data set {row.name} is registered already")
    _rows[row.name] = row


def list_datasets() -> list[str]:
    """All registered names; `folder:PATH` comes on top of them."""
    return sorted(_rows)


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
) -> Dataset:
    """The data set called `name`, or the images in class folders at PATH for `folder:PATH`.

    `root` (default $FIRSTSPIKE_DATA, else `data`) holds the files in torchvision's layout; absent ones
    are downloaded if `download`. `image_size` (rows = columns, or both) resizes; `seed` splits a folder
    without train/ and test/. Raises DataMissing (a UserError) for files that are neither there nor to be
    fetched, UserError for damaged ones.
    """
    if name.startswith(FOLDER):
        return load_folder(
            Path(name.removeprefix(FOLDER)).expanduser(), name=name, image_size=image_size, seed=seed
        )
    if name not in _rows:
        raise UserError(f"unknown data set {name!r}; there are {', '.join(list_datasets())} and {FOLDER}PATH")
    try:
        dataset = _rows[name].read(Path(root).expanduser() if root is not None else default_root(), download)
    except OSError as error:
        raise UserError(
            f"data set {name}: {error.filename or 'a file'} cannot be read: {error.strerror}"
        ) from error
    return dataset if image_size is None else resized(dataset, as_size(image_size))


for _name, _read in images.READERS.items():
    register(Row(_name, _read))
