"""Folds, early stopping and giving up, as published."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from firstspike.errors import UserError
from firstspike.readouts.protocol import Patience, folds, is_hopeless, summarise


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


def test_a_run_is_hopeless_from_the_fourth_epoch_on():
    assert not is_hopeless(2, 0.1, 0.1, 0.5)
    assert is_hopeless(3, 0.1, 0.9, 0.5)
    assert is_hopeless(3, 0.9, 0.1, 0.5)
    assert not is_hopeless(3, 0.5, 0.5, 0.5)
    assert not is_hopeless(3, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_scikit_learns(seed):
    labels = np.random.default_rng(seed).choice([7, 1, 4], 97, p=[0.5, 0.3, 0.2])
    found = folds(labels, 10)
    for f, (_, held_out) in enumerate(StratifiedKFold(10, shuffle=False).split(labels, labels)):
        np.testing.assert_array_equal(np.flatnonzero(found == f), held_out)
    with pytest.raises(UserError, match="smallest class has 2 samples"):
        folds(np.array([0, 0, 0, 1, 1]), 3)


def test_scores_are_rounded_before_the_mean():
    assert summarise([0.98764, 0.98766]) == pytest.approx((0.98765, 0.00005))
