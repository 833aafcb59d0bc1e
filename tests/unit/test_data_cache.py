"""The cache of costly arrays: made once, whole or not at all, never trusted when damaged."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from firstspike.data import cache
from firstspike.data.cache import cached_array, latencies
from firstspike.errors import UserError

SHAPE = (50, 3, 4)


class Fill:
    """Rows of a known array; counts how many it made."""

    def __init__(self, seed=0):
        self.array = np.random.default_rng(seed).integers(0, 99, SHAPE).astype(np.uint8)
        self.made = 0

    def __call__(self, rows):
        self.made += rows.stop - rows.start
        return self.array[rows]


def get(fill, folder, key="k", **how):
    return cached_array(key, SHAPE, np.uint8, fill, folder=folder, name="set: a/b", **how)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(cache, "MOST_ROWS", 7)


@pytest.mark.parametrize("budget", [0, 2**20])
def test_made_once_then_read(tmp_path, small_chunks, budget):
    fill = Fill()
    for _ in range(3):
        array = get(fill, tmp_path / "new", memory_budget=budget)
        assert np.array_equal(array, fill.array)
        assert isinstance(array, np.memmap) == (budget == 0)
    assert fill.made == len(fill.array)
    assert [p.name[:8] for p in (tmp_path / "new").iterdir()] == ["set-a-b-"]


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_a_pass_over_a_mapped_array_takes_no_memory(tmp_path):
    """64 MB in turn and out of turn: a few rows at a time are in memory."""
    (tmp_path / "file").write_bytes(bytes(7) + np.arange(64, dtype=np.uint8).repeat(2**20).tobytes())
    array = cache.Mapped(tmp_path / "file", np.uint8, 7, (64, 2**20))
    before, most = resident(), 0
    for row in (*range(64), *np.random.default_rng(0).permutation(64)):
        assert (array[row : row + 1] == row).all()
        assert (array[[row]] == row).all()
        most = max(most, resident() - before)
    assert most < 16 * 2**20


def test_rows_of_a_mapped_array_are_views_or_copies_as_of_any_array(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(60)))
    array, plain = cache.Mapped(tmp_path / "file", np.uint8, 0, (3, 4, 5)), np.arange(60, dtype=np.uint8)
    plain = plain.reshape(3, 4, 5)
    for index in (1, slice(1, 3), [2, 0], (1, 2, 3), (slice(None), 1), plain > 30, ..., None):
        np.testing.assert_array_equal(array[index], plain[index])
    assert type(array[[2, 0]]) is np.ndarray
    assert isinstance(array[1:].reshape(-1)[3:], cache.Mapped)
    np.testing.assert_array_equal(array[1:].reshape(-1)[3:], plain[1:].reshape(-1)[3:])
    np.testing.assert_array_equal(array.copy()[1] + array[2], plain[1] + plain[2])
    assert np.ascontiguousarray(array[1:]).sum() == plain[1:].sum()


def test_no_folder_means_memory_only():
    fill = Fill()
    assert np.array_equal(get(fill, None), fill.array)


def test_another_key_is_another_file(tmp_path):
    assert not np.array_equal(get(Fill(0), tmp_path, "a"), get(Fill(1), tmp_path, "b"))
    assert len(list(tmp_path.iterdir())) == 2


def test_progress_hears_of_every_chunk(tmp_path, small_chunks):
    heard = []
    get(Fill(), tmp_path, progress=lambda done, total: heard.append((done, total)))
    assert heard[0] == (7, 50)
    assert heard[-1] == (50, 50)


@pytest.mark.parametrize("budget", [0, 2**20])
def test_writing_to_the_result_leaves_the_file_alone(tmp_path, budget):
    fill = Fill()
    get(fill, tmp_path, memory_budget=budget)[:] = 0
    assert np.array_equal(get(fill, tmp_path), fill.array)
    assert fill.made == len(fill.array)


def test_compiled_code_takes_a_mapped_array_as_it_takes_any(tmp_path):
    mapped = get(Fill(), tmp_path, memory_budget=0)
    assert numba.typeof(mapped) == numba.typeof(np.array(mapped))


@pytest.mark.parametrize("budget", [0, 2**20])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:100] + b"?" + data[101:],  # within the header
        lambda data: data[:5000][:-1] + b"\xff" + data[5000:] if len(data) > 5000 else data[:-1] + b"\xff",
    ],
)
def test_damaged_files_are_made_anew(tmp_path, budget, damage):
    fill = Fill()
    get(fill, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert np.array_equal(get(fill, tmp_path, memory_budget=budget), fill.array)
    assert fill.made == 2 * len(fill.array)
    assert path.read_bytes() == whole


def test_a_run_that_dies_leaves_no_file(tmp_path, small_chunks):
    class Died(BaseException):
        pass

    def dies(rows):
        if rows.start > 20:
            raise Died
        return np.zeros((rows.stop - rows.start, 3, 4), np.uint8)

    with pytest.raises(Died):
        get(dies, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_killed_runs_are_swept(tmp_path):
    fill = Fill()
    get(fill, tmp_path)
    (path,) = tmp_path.iterdir()
    path.unlink()
    old, new = (tmp_path / f".{path.name}.{n}.part" for n in "ab")
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    get(fill, tmp_path)
    assert not old.exists()
    assert new.exists()


def test_two_runs_at_once(tmp_path, small_chunks):
    fill = Fill()

    def slow(rows):
        time.sleep(0.005)
        return fill.array[rows]

    with ThreadPoolExecutor(4) as pool:
        arrays = list(pool.map(lambda _: get(slow, tmp_path, memory_budget=0), range(4)))
    assert all(np.array_equal(array, fill.array) for array in arrays)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    fill = Fill()
    assert np.array_equal(get(fill, tmp_path / "file" / "x"), fill.array)
    with pytest.raises(UserError, match="cannot write"):
        get(fill, tmp_path / "file" / "x", required=True)


def test_no_room_is_noticed_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4000))
    fill = Fill()
    with pytest.raises(UserError, match="no room on disk"):
        get(fill, tmp_path, required=True)
    assert fill.made == 0
    assert np.array_equal(get(fill, tmp_path), fill.array)
    assert list(tmp_path.iterdir()) == []


def test_no_room_while_writing(tmp_path, monkeypatch, small_chunks):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("firstspike.files.os.fsync", full)
    fill = Fill()
    assert np.array_equal(get(fill, tmp_path), fill.array)
    with pytest.raises(UserError, match="no room on disk"):
        get(fill, tmp_path, required=True)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_the_wrong_kind_are_a_programming_error(tmp_path):
    with pytest.raises(ValueError, match=r"rows 0:50 came as float64 \(50, 3, 4\)"):
        get(lambda rows: np.zeros(SHAPE), tmp_path)


class Halves:
    """An encoder whose output is larger than its input; counts images."""

    steps, channels = 15, 2

    def __init__(self, key="halves"):
        self.key, self.seen = key, 0

    def __call__(self, images):
        self.seen += len(images)
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
        return np.stack([padded // 2, 255 - padded // 2], axis=1)


def test_latencies_depend_on_images_and_on_the_encoders_key(tmp_path, small_chunks):
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 6)).astype(np.uint8)
    encoder = Halves()
    first = latencies(images, encoder, folder=tmp_path, name="digits")
    assert np.array_equal(first, Halves()(images))
    seen = encoder.seen
    latencies(images, encoder, folder=tmp_path, name="digits")
    assert encoder.seen <= seen + 1  # a blank one tells the shape
    latencies(images[:9], encoder, folder=tmp_path, name="digits")
    latencies(images, Halves("other"), folder=tmp_path, name="digits")
    assert len(list(tmp_path.iterdir())) == 3


def test_no_images(tmp_path):
    assert latencies(np.zeros((0, 5, 6), np.uint8), Halves(), folder=tmp_path, name="x").shape == (0, 2, 7, 8)
