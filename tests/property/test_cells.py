"""Counting cells and listing bits, many at a time, against numpy."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike.kernels import cells
from firstspike.kernels.cells import CELLS

quick = settings(max_examples=60, deadline=None, derandomize=True)
WORDS = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1])


@pytest.mark.parametrize("way", ["_compress", "_peel"])
def test_bits_are_listed_alike_with_and_without_the_instruction_for_it(monkeypatch, way):
    for name in ("_compress", "_peel"):
        monkeypatch.setattr(cells, name, getattr(cells, way))

    @numba.njit
    def listed(entries, at, word, base):
        return cells.list_ones(entries, at, word, base)

    @quick
    @given(WORDS, st.integers(0, 5), st.integers(0, 65000))
    def check(word, at, base):
        entries = np.zeros(at + CELLS, np.uint16)
        count = listed(entries, at, np.uint32(word), base)
        expected = [base + bit for bit in range(32) if word >> bit & 1]
        assert count == len(expected)
        np.testing.assert_array_equal(entries[at : at + count], np.array(expected, np.uint16))
        assert not entries[:at].any()

    check()


@numba.njit
def count(fired, across, values, words, limit, shift):
    cells.count_at_most(fired, 0, values, 0, fired.size, limit)
    cells.add_cells(across, 0, fired, shift, across.size)
    cells.pack_at_most(words, 0, values, 0, words.size, limit)
    return cells.cells_above(across, 0, limit)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(0, 254), st.integers(0, CELLS))
def test_cells_are_counted_and_packed(seed, limit, shift):
    values = np.random.default_rng(seed).integers(0, 256, 4 * CELLS, np.uint8)
    fired, across, words = (
        np.zeros(n, kind) for n, kind in ((4 * CELLS, np.uint16), (CELLS, np.uint16), (2, np.uint64))
    )
    fired += 3
    across += 200
    above = count(fired, across, values, words, limit, shift)
    reached = values <= limit
    np.testing.assert_array_equal(fired, 3 + reached)
    np.testing.assert_array_equal(across, 203 + reached[shift : shift + CELLS])
    np.testing.assert_array_equal(np.unpackbits(words.view(np.uint8), bitorder="little"), reached)
    np.testing.assert_array_equal([above >> cell & 1 for cell in range(CELLS)], across > limit)
