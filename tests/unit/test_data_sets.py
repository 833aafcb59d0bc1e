"""The table of data sets, the embedded digits, CIFAR-10, downloads."""

import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from firstspike.data import DataMissing, Dataset, Row, download, list_datasets, load, register
from firstspike.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden" / "digits"


def test_the_table():
    idx = {"mnist", "fashion-mnist", "kmnist", "emnist-digits", "emnist-balanced"}
    assert {"digits", "cifar10", "cifar10-jpeg", *idx} <= set(list_datasets())
    with pytest.raises(
        UserError, match=r"unknown data set 'mnits'; there are .*kmnist, mnist, .*folder:PATH"
    ):
        load("mnits")
    with pytest.raises(ValueError, match="registered already"):
        register(Row("mnist", lambda root, download: None))


@pytest.mark.parametrize("name", sorted(set(list_datasets()) - {"digits"}))
def test_absent_files_are_reported_and_nothing_is_made(name, tmp_path):
    with pytest.raises(DataMissing, match=r"looked for .* digits") as caught:
        load(name, tmp_path, download=False)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_digits_are_those_of_the_recorded_runs():
    data = load("digits")
    every = np.concatenate([data.train_images, data.test_images])
    known = {image.tobytes() for image in every}
    recorded = np.load(GOLDEN / "mozafari2018.npz", allow_pickle=False)
    real = recorded["images"][recorded["sklearn_index"] >= 0]
    assert len(real) > 150
    assert all(image.tobytes() in known for image in real)


def test_digits_split_is_stratified_and_the_same_for_every_seed():
    data, other = load("digits"), load("digits", seed=5)
    assert (len(data.train_images), len(data.test_images)) == (1438, 359)
    assert np.array_equal(data.test_images, other.test_images)
    assert np.bincount(data.test_labels).min() >= 34
    assert not data.mirror


def test_image_size_resizes():
    assert load("digits", image_size=(16, 20)).train_images.shape == (1438, 16, 20)


def cifar_folder(root):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for n, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        records = np.random.default_rng(n).integers(0, 256, (4, 3073), np.uint8)
        records[:, 0] = [n, 9, 0, n]
        (folder / name).write_bytes(records.tobytes())
    return folder


def test_cifar10_folder_and_archive_agree(tmp_path):
    folder = cifar_folder(tmp_path)
    plain = load("cifar10", tmp_path, download=False)
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname="cifar-10-batches-bin")
    packed = load("cifar10", tmp_path / "packed", download=False)
    assert plain.train_images.shape == (20, 3, 32, 32)
    assert np.array_equal(plain.train_images, packed.train_images)
    assert packed.test_labels.tolist() == [5, 9, 0, 5]
    first = np.random.default_rng(0).integers(0, 256, (4, 3073), np.uint8)[0, 1:]
    assert np.array_equal(plain.train_images[0].ravel(), first)


def test_cifar10_damaged(tmp_path):
    folder = cifar_folder(tmp_path)
    (folder / "data_batch_3.bin").write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match=r"data_batch_3.bin is truncated"):
        load("cifar10", tmp_path)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_3.bin is missing"):
        load("cifar10", tmp_path)


def test_without_a_network_a_download_fails_fast_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    monkeypatch.setattr(download, "_reachable", lambda address: time.sleep(60))
    download.torchvision()  # a slow import is not what is timed
    start = time.monotonic()
    with pytest.raises(DataMissing, match="no network"):
        load("mnist", tmp_path / "data")
    assert time.monotonic() - start < 5
    assert not (tmp_path / "data").exists()


def test_a_download_that_breaks_leaves_nothing_half_written(tmp_path, monkeypatch):
    def broken(address, root, filename, md5):
        Path(root, filename).write_bytes(b"half")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(download, "_reachable", lambda address: True)
    monkeypatch.setattr(download.torchvision().datasets.utils, "download_url", broken)
    with pytest.raises(DataMissing, match=r"download failed .*corrupted"):
        load("fashion-mnist", tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_download_puts_the_packed_files_in_place(tmp_path, monkeypatch, data_dir):
    source = data_dir / "MNIST" / "raw"

    def copy(address, root, filename, md5):
        assert len(md5) == 32
        Path(root, filename).write_bytes((source / filename).read_bytes())

    monkeypatch.setattr(download, "_reachable", lambda address: True)
    monkeypatch.setattr(download.torchvision().datasets.utils, "download_url", copy)
    assert len(load("mnist", tmp_path).train_images) == 60000
    assert len(list((tmp_path / "MNIST" / "raw").iterdir())) == 4


def test_reading_files_needs_no_torch():
    code = "import sys, firstspike.data as d; d.load('digits'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_data_set_refuses_what_is_not_uint8():
    with pytest.raises(UserError, match="must be uint8"):
        Dataset("x", np.zeros((1, 2, 2)), np.zeros(1, int), np.zeros((1, 2, 2)), np.zeros(1, int), ("a",))
