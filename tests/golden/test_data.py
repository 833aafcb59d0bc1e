"""Binning, codes, points and augmentation against the recorded arrays."""

from pathlib import Path

import numpy as np
import pytest

from firstspike.data.binning import HalfPrecision, HalfPrecisionCeil, Nearest, binned
from firstspike.data.recordings import Recordings, joined
from firstspike.data.sequences import latency_table, yinyang, yinyang_trains
from firstspike.kernels.augment import affine

RECORDED = np.load(Path(__file__).parent / "neurons.npz", allow_pickle=False)


def recordings():
    pairs = [
        (RECORDED[f"binning/train_times{n}"].astype(np.float32), RECORDED[f"binning/train_units{n}"])
        for n in range(3)
    ]
    times, units, offsets = joined(pairs)
    return Recordings(times, units, offsets, np.arange(3), (700,), 1.0)


def rows_of(dense):
    bins, units = np.nonzero(dense)
    return np.stack([bins, units, dense[bins, units].astype(int)], axis=1)


def same_rows(a, b):
    return np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


@pytest.mark.parametrize("milliseconds", [1, 5])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_half_precision_bins(milliseconds, n):
    dense = binned(recordings(), HalfPrecision(milliseconds * 1e-3)).batch([n])[0]
    assert same_rows(rows_of(dense), RECORDED[f"binning/para_ws{milliseconds}_{n}_coo"])
    assert dense.shape == tuple(RECORDED[f"binning/para_ws{milliseconds}_{n}_shape"])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_half_precision_bins_closed_on_the_right(n):
    latest = np.float16(recordings().times.max())
    longest = int(np.float16(latest / np.float16(1e-3))) + 1
    dense = binned(recordings(), HalfPrecisionCeil(longest)).batch([n])[0]
    assert same_rows(rows_of(dense), RECORDED[f"binning/spsn_{n}_coo"])
    assert dense.shape == tuple(RECORDED[f"binning/spsn_{n}_shape"])


def test_nearest_bins():
    dense = binned(recordings(), Nearest(2, 500)).batch([1])[0]
    assert same_rows(rows_of(dense)[:, [1, 0, 2]], RECORDED["binning_fast/coo"])


def test_latency_code():
    assert np.array_equal(latency_table("fastsnn"), RECORDED["latency/step"])


@pytest.mark.parametrize(("part", "count", "seed"), [("train", 5000, 42), ("test", 1000, 40)])
def test_yinyang(part, count, seed):
    values, classes = yinyang(count, seed)
    assert np.array_equal(values[:300].astype(np.float32), RECORDED[f"yinyang_{part}/values"])
    assert np.array_equal(classes, RECORDED[f"yinyang_{part}/classes"])
    assert np.allclose(values.sum(axis=0), RECORDED[f"yinyang_{part}/sums"], rtol=1e-6)
    assert np.array_equal(yinyang_trains(part, 10).labels, classes)


@pytest.mark.parametrize("case", ["affine0", "affine1", "affine2", "affine3"])
def test_affine(case):
    image, wanted = RECORDED[f"{case}/x"], RECORDED[f"{case}/y"]
    shift, scale = float(RECORDED[f"{case}/shift"]), float(RECORDED[f"{case}/scale"])
    out = np.empty_like(image)
    affine(image[None, None], np.array([40]), np.array([[0.0, shift]]), np.array([scale]), out[None, None])
    rows = (np.arange(40) - 19.5) / scale + 19.5
    columns = (np.arange(30) - 14.5 - shift) / scale + 14.5
    clear_rows, clear_columns = (np.abs(p - np.floor(p) - 0.5) > 1e-3 for p in (rows, columns))
    clear = np.ix_(clear_rows, clear_columns)
    assert clear_rows.mean() > 0.5
    assert np.array_equal(out[clear], wanted[clear])
