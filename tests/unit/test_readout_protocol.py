"""Early stopping and scores, as published."""

import pytest

from firstspike.readouts.protocol import Patience, summarise


def test_patience_waits_for_a_strictly_better_value():
    state = Patience(2)
    for accuracy, stop in ((0.0, False), (0.5, False), (0.5, False), (0.4, True)):
        state = state.after(accuracy)
        assert state.stop is stop
    assert state.best == 0.5
    assert not state.after(0.6).stop
    state = Patience(0)
    for _ in range(30):
        state = state.after(0.1)
    assert not state.stop


def test_scores_are_rounded_before_the_mean():
    assert summarise([0.98764, 0.98766]) == pytest.approx((0.98765, 0.00005))
