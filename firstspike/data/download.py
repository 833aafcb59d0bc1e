"""The one place that imports torchvision: addresses, checksums and downloads of the data sets it knows.

A file arrives in a temporary folder beside its place, is checked, and only then renamed: an interrupted
or corrupt download leaves nothing. Whether there is a network at all is asked once, with a short
patience, before anything is created.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from firstspike.data.dataset import DataMissing
from firstspike.data.idx import find_idx

PATIENCE = 8.0  # seconds until an address counts as not reachable
STALL = 30.0  # seconds without a byte until a download is given up
LARGEST_MEMBER = 2**31  # bytes a packed member may announce

CIFAR10_BINARY = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")  # MD5 of the authors' page

_kept_alive: list[object] = []  # operator schemas vanish with the object that defined them


@functools.cache
def torchvision() -> ModuleType:
    """The torchvision package, also where its compiled operators do not load (a torch without CUDA)."""
    if not _operators_load():
        _define_missing_schemas()
    return importlib.import_module("torchvision")


def _operators_load() -> bool:
    import torch

    spec = importlib.util.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    for library in (file for folder in folders or () for file in Path(folder).glob("_C*")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(library))
            return True
    return False


def _define_missing_schemas() -> None:
    """Declare the two operators whose absence makes the import fail; nothing here ever calls them."""
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    fragment.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    fragment.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept_alive.append(fragment)


def fetch_mnist_like(class_name: str, raw: Path) -> None:
    """Download into `raw` the packed IDX files of torchvision's `class_name`: MNIST, FashionMNIST, KMNIST."""
    source = getattr(torchvision().datasets, class_name)
    absent = [
        (name, md5) for name, md5 in source.resources if find_idx(raw, name.removesuffix(".gz")) is None
    ]
    _fetch([([mirror + name for mirror in source.mirrors], name, md5) for name, md5 in absent], raw)


def fetch_emnist(raw: Path, names: Iterable[str]) -> None:
    """Download EMNIST's archive and keep the packed IDX files `names` of it in `raw`."""
    source = torchvision().datasets.EMNIST
    _fetch([([source.url], "gzip.zip", source.md5)], raw, members=names)


def fetch_cifar10(root: Path) -> None:
    """Download CIFAR-10's binary archive into `root`; the one torchvision takes is pickled."""
    name, md5 = CIFAR10_BINARY
    address = torchvision().datasets.CIFAR10.url.replace("cifar-10-python.tar.gz", name)
    _fetch([([address], name, md5)], root)


def verified_cifar10(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test set of `root/cifar-10-batches-py`, images (N, 3, 32, 32) and labels.

    torchvision compares the MD5 of every file with the published one before it unpickles any.
    """
    sets = [torchvision().datasets.CIFAR10(str(root), train=train) for train in (True, False)]
    return [(np.ascontiguousarray(s.data.transpose(0, 3, 1, 2)), np.array(s.targets, np.int64)) for s in sets]


def _fetch(files: list[tuple[list[str], str, str]], folder: Path, members: Iterable[str] = ()) -> None:
    """Bring `files` (addresses, name, MD5) into `folder`; of a zip archive only its `members`."""
    if not files:
        return
    _demand_network(files[0][0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name, _stall_limit():
            work = Path(name)
            for addresses, file, md5 in files:
                _first_that_works(addresses, work, file, md5)
            arrived = (
                _members(work / files[0][1], work, members) if members else [work / f for _, f, _ in files]
            )
            for path in arrived:
                os.replace(path, folder / path.name)
    except OSError as error:
        raise DataMissing(f"cannot download into {folder}: {error.strerror or error}") from error


def _first_that_works(addresses: list[str], folder: Path, name: str, md5: str) -> None:
    download_url = torchvision().datasets.utils.download_url
    failures = []
    for address in addresses:
        try:
            return download_url(address, str(folder), filename=name, md5=md5)
        except (RuntimeError, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            failures.append(f"{address}: {error}")
    raise DataMissing(f"download failed ({'; '.join(failures)})")


def _members(archive: Path, folder: Path, names: Iterable[str]) -> list[Path]:
    """The `names` out of a zip archive, whatever folder they lie in there, each written into `folder`."""
    with zipfile.ZipFile(archive) as packed:
        found = {info.filename.rpartition("/")[2]: info for info in packed.infolist()}
        for name in names:
            if name not in found or found[name].file_size > LARGEST_MEMBER:
                raise DataMissing(f"{archive.name} has no usable {name}")
            (folder / name).write_bytes(packed.read(found[name]))
    return [folder / name for name in names]


def _demand_network(addresses: list[str]) -> None:
    answers: list[bool] = []
    # A thread, because a name look-up without a network takes no timeout and may last minutes.
    asker = threading.Thread(target=lambda: answers.append(any(map(_reachable, addresses))), daemon=True)
    asker.start()
    asker.join(PATIENCE)
    if not any(answers):
        raise DataMissing(f"no network: {addresses[0]} is not reachable")


def _reachable(address: str) -> bool:
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE / 2).close()
    except urllib.error.HTTPError:
        return True  # refused, but by somebody: the download itself will say why
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _stall_limit() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
