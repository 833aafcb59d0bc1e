"""IDX files: read packed and plain, refused when damaged."""

import gzip
import struct

import numpy as np
import pytest

from firstspike.data import DataMissing, idx, load
from firstspike.data.cache import Mapped
from firstspike.data.idx import read_idx
from firstspike.errors import UserError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def idx_bytes(array, magic=None):
    header = struct.pack(f">{array.ndim + 1}I", magic or 0x0800 + array.ndim, *array.shape)
    return header + array.tobytes()


def write_set(raw, images=IMAGES, labels=(0, 9, 5), prefix=("train", "t10k")):
    raw.mkdir(parents=True, exist_ok=True)
    for part in prefix:
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.array(labels, np.uint8)))


@pytest.mark.parametrize("budget", [10, 1000])
@pytest.mark.parametrize("packed", [True, False])
def test_reads_what_was_written(tmp_path, packed, budget, monkeypatch):
    monkeypatch.setattr(idx, "IN_MEMORY", budget)
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx_bytes(IMAGES)) if packed else idx_bytes(IMAGES))
    images = read_idx(path, 3)
    assert np.array_equal(images, IMAGES)
    assert isinstance(images, Mapped) == (budget < IMAGES.size)


PACKED = gzip.compress(idx_bytes(IMAGES), mtime=0)  # a name of a test, which must not change with the clock


@pytest.mark.parametrize("budget", [0, 1000])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.gz", PACKED[:-20], "truncated or damaged gzip"),
        ("a.gz", PACKED[:-8] + b"\0" * 8, "truncated or damaged gzip"),
        ("a.gz", idx_bytes(IMAGES), "not a gzip file"),
        ("a.gz", b"", "not a gzip file"),
        ("a", idx_bytes(IMAGES)[:-1], "only 59"),
        ("a", idx_bytes(IMAGES) + b"x", "holds more"),
        ("a", idx_bytes(IMAGES)[:9], "within its header"),
        ("a", idx_bytes(IMAGES, magic=2049), "2051 was expected"),
        ("a", struct.pack(">4I", 2051, 60000, 2**16, 2**16), "more than the"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content, says, budget, monkeypatch):
    monkeypatch.setattr(idx, "IN_MEMORY", budget)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_idx(tmp_path / name, 3)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_cannot_make_the_reader_allocate_what_the_file_lacks(tmp_path):
    (tmp_path / "a").write_bytes(struct.pack(">4I", 2051, 2**10, 2**10, 2**10) + b"x")
    with pytest.raises(UserError, match="holds only 1"):
        read_idx(tmp_path / "a", 3)


def test_mnist_layout(tmp_path):
    write_set(tmp_path / "MNIST" / "raw")
    data = load("mnist", tmp_path, download=False)
    assert np.array_equal(data.train_images, IMAGES)
    assert data.test_labels.tolist() == [0, 9, 5]
    assert data.test_labels.dtype == np.int64
    assert (data.classes, data.channels, data.image_size, data.mirror) == (10, 1, (4, 5), False)


def test_labels_outside_the_classes(tmp_path):
    write_set(tmp_path / "MNIST" / "raw", labels=(0, 10, 5))
    with pytest.raises(UserError, match=r"labels run from 0 to 10, allowed are 0 to 9"):
        load("mnist", tmp_path, download=False)


def test_counts_that_disagree(tmp_path):
    write_set(tmp_path / "KMNIST" / "raw", labels=(0, 1))
    with pytest.raises(UserError, match="3 images but 2 labels"):
        load("kmnist", tmp_path, download=False)


def test_emnist_files_hold_columns_before_rows(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "test"):
        (raw / f"emnist-balanced-{part}-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES))
        (raw / f"emnist-balanced-{part}-labels-idx1-ubyte").write_bytes(
            idx_bytes(np.array([0, 46, 10], np.uint8))
        )
    data = load("emnist-balanced", tmp_path, download=False)
    assert np.array_equal(data.train_images, IMAGES.transpose(0, 2, 1))
    assert data.classes == 47
    assert [data.class_names[i] for i in data.train_labels] == ["0", "t", "A"]


def test_absent_files_say_what_was_looked_for_and_what_to_do(tmp_path):
    with pytest.raises(DataMissing) as caught:
        load("mnist", tmp_path / "none", download=False)
    for part in ("train-images-idx3-ubyte", str(tmp_path), "--data-dir", "--dataset digits"):
        assert part in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_the_real_files(data_dir):
    for name in ("mnist", "fashion-mnist"):
        data = load(name, data_dir, download=False)
        assert (data.train_images.shape, data.test_images.shape) == ((60000, 28, 28), (10000, 28, 28))
        assert np.bincount(data.test_labels).min() > 800
