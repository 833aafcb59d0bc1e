"""Traces: who learnt in which role, who decided."""

import numpy as np

from firstspike.readouts import S2STDP, Groups, Layer, Readout, ReadoutEngine
from firstspike.readouts.traces import count_updates, wins


def test_updates_are_counted_by_role():
    groups = Groups(3, 1, inhibit=True)
    generator = np.random.default_rng(0)
    dense = generator.random((50, 20)).astype(np.float32)
    labels = generator.integers(0, 2, 50)
    engine = ReadoutEngine(
        Readout(Layer(3.0, std=0.1), S2STDP(0.1, 0.05, -0.05), groups), inputs=20, classes=2
    )
    epoch = engine.fit_phase("readout", dense, labels, record=True)
    counts = count_updates(epoch.trace, labels, groups)
    assert counts.shape == (6, 2)
    assert not counts[[0, 3], 0].any()  # non-target neurons never learn as targets
    assert counts.sum() == np.count_nonzero(epoch.trace.gains.reshape(-1, 2).any(axis=1))
    assert counts.sum() <= 50 * 2  # one neuron a class and sample
    found = wins(epoch.trace, 6)
    assert found.sum() == 50
    np.testing.assert_array_equal(
        np.repeat(found.reshape(2, 3).sum(1), 1), np.bincount(epoch.decisions, minlength=2)
    )
