"""Readers of the image data sets that have a name: where their files lie, what their classes are called."""

from __future__ import annotations

import string
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from firstspike.data import download as net
from firstspike.data.dataset import DataMissing, Dataset, choose_classes, resize
from firstspike.data.folders import load_folder
from firstspike.data.idx import find_idx, read_idx
from firstspike.data.splits import split, stream
from firstspike.data.table import Request, Row, register
from firstspike.errors import UserError

DIGITS = tuple(string.digits)
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
# EMNIST balanced merges the lower-case letters that look like their capitals (Cohen et al. 2017, table II).
EMNIST_BALANCED = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ETH_OBJECTS = range(1, 11)
CIFAR10_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes


@dataclass(frozen=True)
class IdxSet:
    """A data set of four IDX files: train images, train labels, test images, test labels, without `.gz`."""

    name: str
    folder: str
    files: tuple[str, str, str, str]
    class_names: tuple[str, ...]
    fetch: Callable[[Path], None]
    mirror: bool = False
    transposed: bool = False


def _mnist_like(name: str, folder: str, class_names: tuple[str, ...], *, mirror: bool = False) -> IdxSet:
    files = tuple(
        f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    )
    return IdxSet(name, folder, files, class_names, partial(net.fetch_mnist_like, folder), mirror)


def _emnist(kind: str, class_names: tuple[str, ...]) -> IdxSet:
    files = tuple(
        f"emnist-{kind}-{part}-{what}-ubyte"
        for part in ("train", "test")
        for what in ("images-idx3", "labels-idx1")
    )
    fetch = partial(net.fetch_emnist, names=[f"{file}.gz" for file in files])
    return IdxSet(f"emnist-{kind}", "EMNIST", files, class_names, fetch, transposed=True)


IDX_SETS = (
    _mnist_like("mnist", "MNIST", DIGITS),
    _mnist_like("fashion-mnist", "FashionMNIST", FASHION, mirror=True),
    _mnist_like("kmnist", "KMNIST", KUZUSHIJI),
    _emnist("digits", DIGITS),
    _emnist("balanced", EMNIST_BALANCED),
)


def read_idx_set(row: IdxSet, request: Request) -> Dataset:
    """The data set of `row` from `root/<folder>/raw`; absent files are downloaded first if they may be."""
    raw = request.root / row.folder / "raw"
    absent = [file for file in row.files if find_idx(raw, file) is None]
    if absent:
        _obtain(row.name, f"{absent[0]}[.gz] in {raw}", request.download, lambda: row.fetch(raw))
    train_images, test_images = (read_idx(find_idx(raw, file), 3) for file in row.files[::2])
    train_labels, test_labels = (
        read_idx(find_idx(raw, file), 1).astype(np.int64) for file in row.files[1::2]
    )
    if row.transposed:  # EMNIST's files hold columns before rows
        train_images, test_images = (
            np.ascontiguousarray(a.swapaxes(1, 2)) for a in (train_images, test_images)
        )
    return Dataset(
        row.name, train_images, train_labels, test_images, test_labels, row.class_names, row.mirror
    )


def _obtain(name: str, wanted: str, download: bool, fetch: Callable[[], None]) -> None:
    """Fetch what is absent, or say in one line what was looked for where and what can be done."""
    reason = "downloads are off"
    if download:
        try:
            return fetch()
        except DataMissing as error:
            reason = str(error)
    raise DataMissing(
        f"data set {name}: looked for {wanted}, and {reason}; put the files there, or name the folder that "
        "holds them by --data-dir or $FIRSTSPIKE_DATA, or take --dataset digits, which needs no files"
    )


def read_digits(request: Request) -> Dataset:
    """scikit-learn's 8x8 digits, enlarged to 28x28 (round(v 255 / 16), then Pillow's bilinear filter).

    The test set is a fixed stratified fifth (359 of 1,797), the same for every seed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = resize(np.round(bunch.images * (255 / 16)).astype(np.uint8), (28, 28))
    labels = bunch.target.astype(np.int64)
    train, test = split(labels, 0.2, seed=0)
    return Dataset("digits", images[train], labels[train], images[test], labels[test], DIGITS)


def read_cifar10(request: Request) -> Dataset:
    """CIFAR-10 from its binary version, packed or not, or from the folder that torchvision unpacks.

    Each binary batch holds 10,000 records: a label, then 32x32 bytes of red, green and blue (Krizhevsky
    2009).
    """
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    root = request.root
    archive, folder = root / net.CIFAR10_BINARY[0], root / "cifar-10-batches-bin"
    if not folder.is_dir() and not archive.is_file():
        if (root / "cifar-10-batches-py").is_dir():
            return _cifar10(*net.verified_cifar10(root))
        _obtain(
            "cifar10",
            f"{archive.name} or {folder.name}/ in {root}",
            request.download,
            lambda: net.fetch_cifar10(root),
        )
    batches = _files_of(folder, names) if folder.is_dir() else _members_of(archive, names)
    records = [_cifar_records(batches, name) for name in names]
    train, test = np.concatenate(records[:5]), records[5]
    return _cifar10(*((r[:, 1:].reshape(-1, 3, 32, 32), r[:, 0].astype(np.int64)) for r in (train, test)))


def _cifar10(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Dataset:
    return Dataset("cifar10", *train, *test, CIFAR10, mirror=True)


def _files_of(folder: Path, names: list[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _members_of(archive: Path, names: list[str]) -> dict[str, bytes]:
    """The members `names` of a tar, by their file names, in one pass; others are not looked at."""
    found = {}
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if member.isreg() and name in names and member.size < 2**28:
                    found[name] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} is not a readable tar, or truncated ({error}); fetch it again") from error
    return found


def _cifar_records(batches: dict[str, bytes], name: str) -> np.ndarray:
    if name not in batches:
        raise UserError(f"cifar10: {name} is missing beside the other batches; fetch the data set again")
    if not batches[name] or len(batches[name]) % CIFAR10_RECORD:
        raise UserError(f"cifar10: {name} is truncated, {len(batches[name])} bytes; fetch the data set again")
    return np.frombuffer(batches[name], np.uint8).reshape(-1, CIFAR10_RECORD)


def read_cifar10_jpeg(request: Request) -> Dataset:
    """CIFAR-10 as JPEG files in class folders: `cifar10-jpeg.tar.gz`, or the folder `cifar10-jpeg`.

    The order of the original batches is lost. Class after class would mislead whatever learns image by image, so
    the training images stand in an order that was drawn once.
    """
    path = _archive(request, "cifar10-jpeg", ".tar.gz")
    found = load_folder(path, name="cifar10-jpeg", image_size=32, seed=0, mirror=True)
    drawn = stream(0, "cifar10-jpeg").permutation(len(found.train_labels))
    return replace(found, train_images=found.train_images[drawn], train_labels=found.train_labels[drawn])


def read_eth(request: Request, held_out: int | None = None) -> Dataset:
    """The cups and dogs of ETH-80 (Leibe and Schiele 2003), ten objects each in 41 views.

    A quarter of the images, drawn by the seed, is the test set, or all views of one object of each class: the former
    knows the test images' objects from other views.
    """

    def divide(names: list[str], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if held_out is None:
            return split(labels, 0.25, seed=request.seed)
        held = np.array([object_number(name) == held_out for name in names])
        return np.flatnonzero(~held), np.flatnonzero(held)

    path = _archive(request, "eth-cup-dog", ".tar")
    return load_folder(path, name=request.name, image_size=request.image_size, seed=0, divide=divide)


def object_number(name: str) -> int:
    """Number of the object that a picture of ETH-80 shows: its name is CLASS OBJECT-TILT-AZIMUTH."""
    return int("".join(filter(str.isdigit, name.partition("-")[0])) or 0)


def _archive(request: Request, name: str, suffix: str) -> Path:
    """Where class folders lie, unpacked or in their tar."""
    places = request.root / name, request.root / f"{name}{suffix}"
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise DataMissing(
            f"data set {request.name}: looked for {name}{suffix} or {name}/ in {request.root}; name the "
            "folder with it by --data-dir or $FIRSTSPIKE_DATA, or take --dataset digits, which needs no files"
        )
    return path


def read_mnist_digits(request: Request) -> Dataset:
    """Some of MNIST's digits, such as `mnist:3,8`, in the order given."""
    chosen = str(request.path).split(",")
    if len(set(chosen)) < max(2, len(chosen)) or not set(chosen) <= set(DIGITS):
        raise UserError(f"data set {request.name}: give two or more different digits, such as mnist:3,8")
    whole = read_idx_set(IDX_SETS[0], request)
    return choose_classes(whole, [int(digit) for digit in chosen], name=request.name)


def read_folder(request: Request) -> Dataset:
    """Images in class folders, on disk or in a tar: `folder:PATH`."""
    return load_folder(request.path, name=request.name, image_size=request.image_size, seed=request.seed)


register(Row("digits", read_digits))
register(Row("cifar10", read_cifar10))
register(Row("cifar10-jpeg", read_cifar10_jpeg))
register(Row("folder:", read_folder))
register(Row("mnist:", read_mnist_digits, takes="DIGITS"))
register(Row("eth-cup-dog", read_eth))
for _number in ETH_OBJECTS:
    register(Row(f"eth-cup-dog-{_number}", partial(read_eth, held_out=_number)))
for _row in IDX_SETS:
    register(Row(_row.name, partial(read_idx_set, _row)))
