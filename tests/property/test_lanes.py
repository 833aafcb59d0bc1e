"""Loops over steps in registers equal the same steps in numpy, bit for bit, and touch nothing beside their units; so do
those that write past the caches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from firstspike.kernels import spools
from firstspike.kernels.lanes import UNITS, Unit, steps


@steps(
    constants="leak theta",
    state="v fired",
    numbers="gain late",
    reads="x more",
    spread="scale",
    writes="spikes potentials",
)
def _fire(unit: Unit) -> None:
    unit.v = unit.leak * unit.v + unit.gain * (unit.x + unit.more) / unit.scale
    with unit.when("late"):
        unit.v = unit.v - unit.late
    crossed = abs(unit.v) > unit.theta
    unit.fired = unit.fired + unit.where(crossed, 1, 0)
    unit.spikes = unit.where(crossed, 1, 0)
    unit.potentials = unit.v


def loop(c, state, numbers, x, more, scale, spikes, potentials, start, stride, units, count):
    """Call the loop; the potentials are written step by step, upwards as the others or downwards."""
    last = start + (count - 1) * spikes.shape[1]
    arrays = (x, more, scale, spikes, potentials)
    starts = (start, start, 0, start, last if stride < 0 else start)
    row = spikes.shape[1]
    _fire(c, state, numbers, arrays, starts, (row, row, 1, row, stride), units, count, c.size // 2)


@pytest.fixture(scope="module", params=["through the caches", "past the caches"])
def run(request):
    """The loop, compiled; every array is large enough to be written past the caches, or none."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "past the caches":
            patch.setattr(spools, "PAST_CACHES", 0)
            patch.setattr(spools, "NEAR", 1 << 12)
        yield njit(loop)


def placed(shape, real, number, after):
    """An array full of a number that begins so many numbers behind the beginning of a register."""
    data = np.full(int(np.prod(shape)) + 32, number, real)
    first = -data.ctypes.data % 64 // data.itemsize + after
    return data[first : first + int(np.prod(shape))].reshape(shape)


def expected(c, v, numbers, x, more, scale):
    """The same in numpy: spikes, potentials, counts."""
    gain, late = (x.dtype.type(number) for number in numbers)
    spikes, potentials = np.empty_like(x), np.empty_like(x)
    for i in range(len(x)):
        v = c[0] * v + gain * (x[i] + more[i]) / scale[i]
        v = v - late if late > 0 else v
        spikes[i], potentials[i] = abs(v) > c[1], v
    return spikes, potentials, spikes.sum(axis=0, dtype=x.dtype)


@pytest.mark.parametrize("real", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(
    units=st.one_of(st.integers(0, 300), st.sampled_from([8, 16, 48, 128, 144, 256, 512])),
    count=st.integers(0, 9),
    beside=st.sampled_from([0, 0, 1, 2, 16]),
    after=st.sampled_from([0, 0, 1, 5, 8]),
    late=st.sampled_from([0.0, 0.25]),
    alone=st.booleans(),
    downwards=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_loop_equals_its_steps(run, real, units, count, beside, after, late, alone, downwards, seed):
    random = np.random.default_rng(seed)
    row, mark = units + 2 * beside, real(7)
    x, more = (random.standard_normal((count + 2, row)).astype(real) for _ in range(2))
    more = np.zeros((0, row), real) if alone else more
    scale = random.uniform(0.5, 2, count).astype(real)
    c = random.uniform(0, 1, (2, 2 * UNITS)).astype(real)
    state = random.standard_normal((2, 2 * UNITS)).astype(real)
    state[1] = 0
    v = state[0, :units].copy()
    spikes, potentials = (placed((count + 2, row), real, mark, after) for _ in range(2))
    start, stride = row + beside, -row if downwards else row

    run(
        c.ravel(),
        state.reshape(-1),
        (0.75, late),
        x,
        more,
        scale,
        spikes,
        potentials,
        start,
        stride,
        units,
        count,
    )

    inner = (slice(1, count + 1), slice(beside, beside + units))
    added = np.zeros((count, units), real) if alone else more[inner]
    fired, reached, total = expected(c[:, :units], v, (0.75, late), x[inner], added, scale)
    np.testing.assert_array_equal(spikes[inner], fired)
    np.testing.assert_array_equal(potentials[inner], reached[::-1] if downwards else reached)
    np.testing.assert_array_equal(state[1, :units], total)
    for target in (spikes, potentials):
        target[inner] = mark
        assert (target == mark).all()


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_what_nobody_wants_is_not_written(run, real):
    x, _nothing, state = np.ones((3, 5), real), np.zeros((0, 5), real), np.zeros(2 * UNITS, real)
    potentials = np.zeros((3, 5), real)
    run(
        np.ones(2 * UNITS, real),
        state,
        (1.0, 0.0),
        x,
        x,
        np.ones(3, real),
        potentials[:0],
        potentials,
        0,
        5,
        5,
        3,
    )
    np.testing.assert_array_equal(potentials[:, 0], [2, 4, 6])
