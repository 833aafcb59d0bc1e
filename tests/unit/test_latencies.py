"""Operations on latencies."""

import numpy as np
import pytest

from firstspike.latencies import SILENT, shift

PLACES = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)


def test_a_shift_moves_down_and_right_and_brings_in_silence():
    expected = [[SILENT] * 4, [SILENT, 0, 1, 2], [SILENT, 4, 5, 6]]
    np.testing.assert_array_equal(shift(PLACES, 1, 1)[0, 0], expected)
    np.testing.assert_array_equal(shift(PLACES, -2, 0)[0, 0], [[8, 9, 10, 11], [SILENT] * 4, [SILENT] * 4])
    np.testing.assert_array_equal(shift(PLACES, 0, 0), PLACES)


@pytest.mark.parametrize("move", [(3, 0), (0, -4), (9, 9)])
def test_what_is_moved_out_is_gone(move):
    assert (shift(PLACES, *move) == SILENT).all()
