"""A linear support vector machine as the weights of a decision layer."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from firstspike.errors import UserError
from firstspike.svm import fit_linear, sparse_spikes
from models import create_model
from tests.zoo import latencies

RNG = np.random.default_rng(0)
SEEN = np.where(RNG.random((300, 5, 3, 3)) < 0.4, RNG.integers(0, 8, (300, 5, 3, 3)), 255).astype(np.uint8)
FIRED = sparse_spikes(SEEN, np.arange(300), 8)


def fit(labels, classes, **settings):
    return fit_linear(FIRED, labels, classes, **{"cost": 2.4, "passes": 50, "seed": 0, **settings})


def test_inputs_that_fire():
    rows = np.array([7, 3, 7])
    np.testing.assert_array_equal(sparse_spikes(SEEN, rows, 4).toarray(), (SEEN[rows] < 4).reshape(3, -1))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_answers_are_those_of_the_machine(classes):
    labels = np.random.default_rng(1).integers(0, classes, 300)
    weights = fit(labels, classes, passes=20000)
    machine = LinearSVC(C=2.4, fit_intercept=False, max_iter=20000, random_state=0).fit(FIRED, labels)
    np.testing.assert_array_equal((FIRED @ weights.T.astype(float)).argmax(axis=1), machine.predict(FIRED))
    assert weights.min() > 0
    assert weights.shape == (classes, 45)


def test_a_class_without_images_never_answers():
    weights = fit(np.where(RNG.random(300) < 0.5, 1, 3), 5)
    assert set((FIRED @ weights.T).argmax(axis=1)) == {1, 3}
    alone = fit(np.full(300, 2), 4)
    assert set((FIRED @ alone.T).argmax(axis=1)) == {2}


def test_the_seed_decides():
    labels = RNG.integers(0, 4, 300)
    np.testing.assert_array_equal(fit(labels, 4), fit(labels, 4))


def test_oblong_images_are_refused():
    net = create_model("kheradpisheh2018", in_channels=2, classes=3, image_size=(20, 28), conv2_maps=4)
    shown = latencies(6, channels=2, side=28)[:, :, :20]
    with pytest.raises(UserError, match="decision must see its whole input at once: use square images"):
        net.fit_phase("decision", shown, np.arange(6) % 3)
