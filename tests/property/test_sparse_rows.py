"""What is above 0 is found, and its rows are added, as numpy does it; nothing beside them is touched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from firstspike.kernels.lanes import UNITS
from firstspike.kernels.sparse_rows import add_rows, add_to_rows, find_positive
from firstspike.kernels.vector import LANES


@njit
def found(data, start, count, first, live, by, place):
    """Call the search."""
    return find_positive(data, start, count, first, live, by, place)


@njit
def gathered(matrix, live, by, count, column, width, sums):
    """Add rows of a matrix to sums."""
    wide = matrix.shape[1]
    add_rows(
        sums, sums, (), (matrix.reshape(-1), by, live), (column, 0, 0), (wide, 1, 1), width, count, UNITS
    )


@njit
def scattered(matrix, live, by, count, column, width, source):
    """Add a source to rows of a matrix."""
    flat, wide = matrix.reshape(-1), matrix.shape[1]
    starts, strides = (column, 0, column, 0), (wide, 1, wide, 1)
    add_to_rows(source, source, (), (flat, by, flat, live), starts, strides, width, count, UNITS)


@pytest.mark.parametrize("real", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 40), count=st.integers(0, 150), some=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_is_above_zero_is_found_in_order(real, start, count, some, seed):
    draw = np.random.default_rng(seed)
    data = np.zeros(start + -(-count // LANES) * LANES, real)
    data[: start + count] = draw.normal(size=start + count) * (draw.random(start + count) < some)
    live, by = np.full(count + 3, -1), np.full(count + 3, np.nan, real)
    last = found(data, start, count, 1000, live, by, 2)
    (where,) = np.nonzero(data[start:] > 0)
    assert live.tolist() == [-1, -1, *(1000 + where), *[-1] * (count + 1 - len(where))]
    np.testing.assert_array_equal(by[2:last], data[start + where])
    assert np.isnan(by[[0, 1, *range(last, count + 3)]]).all()


@pytest.mark.parametrize("real", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 12),
    wide=st.integers(1, 300),
    column=st.integers(0, 40),
    count=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_listed_rows_are_added_and_added_to(real, rows, wide, column, count, seed):
    draw, width = np.random.default_rng(seed), min(wide, UNITS)
    whole = (rows, column + wide + draw.integers(3))
    matrix, sums = (draw.integers(-9, 9, size).astype(real) for size in (whole, UNITS))
    live, by = draw.integers(0, rows, count), draw.integers(1, 5, count).astype(real)
    own = slice(column, column + width)

    expected = sums.copy()
    expected[:width] += (by[:, None] * matrix[live, own]).sum(axis=0)
    total = sums.copy()
    gathered(matrix, live, by, count, column, width, total)
    np.testing.assert_array_equal(total[:width], expected[:width])

    expected, source = matrix.copy(), sums.copy()
    np.add.at(expected[:, own], live, by[:, None] * source[:width])
    scattered(matrix, live, by, count, column, width, source)
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(source, sums)
