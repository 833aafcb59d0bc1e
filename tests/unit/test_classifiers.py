"""Classifiers of features: they answer as scikit-learn's do; what they learnt is arrays."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from firstspike import classifiers, components
from firstspike.classifiers import CLASSIFIERS, KernelSVM, LinearClassifier, Neighbours
from firstspike.errors import UserError
from firstspike.latencies import shift
from firstspike.layers import Readout
from firstspike.readout_layer import ReadoutLayer, ranks
from models import create_model
from tests.zoo import latencies, make_selective

STEPS, SHAPE = 8, (5, 3, 3)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 300)
PROTOTYPES = RNG.random((4, 45))
RANKS = np.clip(9 * (PROTOTYPES[LABELS] + RNG.normal(0, 0.25, (300, 45))) - 2, 0, STEPS).astype(np.uint8)
TRAIN, TEST = slice(200), slice(200, None)
SMALL = {name: kind() for name, kind in CLASSIFIERS.items()}


def fit(classifier, ranks=RANKS[TRAIN], labels=LABELS[TRAIN], threads=1):
    return classifier.fit(ranks, labels, steps=STEPS, seed=0, threads=threads)


def scores(classifier, arrays, classes=4):
    return classifier.scores(arrays, RANKS[TEST], steps=STEPS, classes=classes)


def shown(ranks=RANKS):
    return np.where(ranks > 0, STEPS - ranks, 255).astype(np.uint8).reshape(-1, *SHAPE)


@pytest.mark.parametrize("images", [300, 30])  # more and fewer than features
def test_components_are_those_of_scikit_learn(images):
    mean, basis = components.fit(RANKS[:images], np.arange(STEPS + 1, dtype=np.float32), 7)
    ours = components.transform(RANKS[:images], np.arange(STEPS + 1, dtype=np.float32), mean, basis)
    theirs = PCA(7, svd_solver="full").fit_transform(RANKS[:images].astype(float))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)


def test_directions_without_variance_are_left_out():
    _, basis = components.fit(RANKS[:10], np.arange(STEPS + 1, dtype=np.float32), 200)
    assert basis.shape == (45, 9)
    np.testing.assert_allclose(basis.T @ basis, np.eye(9), atol=1e-5)
    _, basis = components.fit(np.repeat(RANKS[:1], 5, axis=0), np.arange(STEPS + 1, dtype=np.float32), 3)
    assert basis.shape == (45, 0)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_kernel_machine_is_that_of_scikit_learn(power):
    machine = KernelSVM(power=power, components=12)
    values = (RANKS / STEPS) ** power
    pca = PCA(12, svd_solver="covariance_eigh").fit(values[TRAIN])
    theirs = SVC(C=2.4, break_ties=True).fit(pca.transform(values[TRAIN]), LABELS[TRAIN])
    ours = scores(machine, fit(machine)).argmax(axis=1)
    np.testing.assert_array_equal(ours, theirs.predict(pca.transform(values[TEST])))
    assert len(fit(machine)["support"]) == len(theirs.support_)


@pytest.mark.parametrize("classes", [2, 4])
def test_linear_machine_is_that_of_scikit_learn(classes):
    machine, rows = LinearClassifier(), LABELS[TRAIN] < classes
    arrays = fit(machine, RANKS[TRAIN][rows], LABELS[TRAIN][rows])
    theirs = LinearSVC(C=0.01, dual=False).fit(RANKS[TRAIN][rows] / STEPS, LABELS[TRAIN][rows])
    np.testing.assert_array_equal(scores(machine, arrays).argmax(axis=1), theirs.predict(RANKS[TEST] / STEPS))


@pytest.mark.parametrize("neighbours", [1, 5, 200])
def test_neighbours_are_those_of_scikit_learn(neighbours):
    machine = Neighbours(neighbours=neighbours, components=0)
    theirs = KNeighborsClassifier(neighbours).fit(RANKS[TRAIN] / STEPS, LABELS[TRAIN])
    found = scores(machine, fit(machine))
    expected = theirs.predict_proba(RANKS[TEST] / STEPS)
    np.testing.assert_allclose(found, expected, atol=0.5 / neighbours)
    chosen = expected[np.arange(100), found.argmax(axis=1)]
    np.testing.assert_array_equal(chosen, expected.max(axis=1))


def test_of_two_classes_with_equally_many_votes_the_nearer_wins():
    machine = Neighbours(neighbours=2, components=0)
    ranks = np.array([[8, 8], [8, 5], [0, 0]], np.uint8)
    arrays = fit(machine, ranks, np.array([1, 0, 0]))
    near = machine.scores(arrays, np.array([[8, 7]], np.uint8), steps=STEPS, classes=2)
    assert near.argmax() == 1


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_are_shares_and_threads_change_nothing(name):
    machine = SMALL[name]
    arrays, again = fit(machine), fit(machine, threads=3)
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, again[key])
    found = scores(machine, arrays, classes=6)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert (found[:, 4:] == 0).all()
    assert (found.argmax(axis=1) == LABELS[TEST]).mean() > 0.8


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_class_alone_is_the_answer(name):
    machine = SMALL[name]
    arrays = fit(machine, labels=np.full(200, 2))
    assert set(scores(machine, arrays).argmax(axis=1)) == {2}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_layer_is_silent_without_spikes_and_before_it_learnt(name):
    layer = ReadoutLayer(Readout("decision", SMALL[name], 4), SHAPE)
    assert (layer.decide(shown(), steps=STEPS) == -1).all()
    latencies = shown()
    latencies[:3] = 255
    layer.fit(latencies, LABELS, steps=STEPS, seed=0, threads=1)
    decided = layer.decide(latencies, steps=STEPS)
    assert (decided[:3] == -1).all()
    np.testing.assert_array_equal(decided[3:, 0], layer.scores(latencies, steps=STEPS, group=1)[3:].argmax(1))
    assert (layer.scores(latencies[:3], steps=STEPS, group=1) == 0).all()


def test_all_images_vote_where_there_are_fewer_than_neighbours():
    few, every = (
        scores(kind, fit(kind)) for kind in (Neighbours(neighbours=900), Neighbours(neighbours=200))
    )
    np.testing.assert_array_equal(few, every)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_was_learnt_is_taken_over(name):
    first, second = (ReadoutLayer(Readout("decision", SMALL[name], 4), SHAPE) for _ in range(2))
    first.fit(shown(), LABELS, steps=STEPS, seed=0, threads=1)
    second.load(first.arrays)
    np.testing.assert_array_equal(first.decide(shown(), steps=STEPS), second.decide(shown(), steps=STEPS))
    del first.arrays["mean"]
    with pytest.raises(UserError, match="decision is of another classifier or input"):
        second.load(first.arrays)
    assert "mean" in second.arrays


def network(**options):
    """A small shirsavar2022 for three classes whose maps differ."""
    small = {"conv1_maps": 6, "conv2_maps": 5, "conv1_threshold": 3.0, "conv2_threshold": 2.0, "classes": 3}
    net = create_model("shirsavar2022", **{**small, "components": 3, "steps": STEPS, **options})
    make_selective(net)
    return net


def test_a_network_with_another_classifier_is_refused():
    images, net, again = latencies(60, side=28), network(), network()
    net.fit_phase("decision", images, np.arange(60) % 3)
    again.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(again.predict(images), net.predict(images))
    np.testing.assert_array_equal(again.scores(images), net.scores(images))
    state = net.state_dict()
    assert state["decision.learnt.basis"].shape == (80, 3)
    state["decision.learnt.basis"] = state["decision.learnt.basis"][:-1]
    with pytest.raises(UserError, match="another classifier or input"):
        again.load_state_dict(state)


def test_support_vectors_are_shown_again_shifted():
    """Every vector of the machine is what it sees of an image, or of one that was moved by two pixels."""
    images, labels = latencies(60, side=28), np.arange(60) % 3
    net, plain = network(shifts=2, cost=100.0), network(shifts=0, cost=100.0)
    for each in (net, plain):
        each.fit_phase("decision", images, labels)
    moves = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))
    seen = np.concatenate([net.inputs("decision", shift(images, *move)) for move in moves])
    learnt = plain.state_dict()
    table = np.arange(STEPS + 1, dtype=np.float32) / STEPS
    mean, basis = learnt["decision.learnt.mean"], learnt["decision.learnt.basis"]
    every = components.transform(ranks(seen, STEPS), table, mean, basis)
    support = net.state_dict()["decision.learnt.support"]
    far = np.abs(support[:, None] - every[None]).max(axis=2)
    assert far.min(axis=1).max() < 1e-5
    assert (far[:, 60:].min(axis=1) < far[:, :60].min(axis=1)).any()


def still(rows, down, right):
    """Images that look the same wherever they are moved."""
    return RANKS[TRAIN][rows]


def test_machines_of_crowded_classes_see_their_own_support_vectors_alone(monkeypatch):
    """What is shown again unmoved changes no answer, so only its number tells what a machine saw."""
    sizes = {}
    for crowd in (0, 2000):
        monkeypatch.setattr(classifiers, "CROWD", crowd)
        sizes[crowd] = []
        fitted = classifiers._machine
        monkeypatch.setattr(
            classifiers, "_machine", lambda *a, crowd=crowd, f=fitted: sizes[crowd].append(len(a[2])) or f(*a)
        )
        KernelSVM(components=10, shifts=1).fit(
            RANKS[TRAIN], LABELS[TRAIN], steps=STEPS, seed=0, threads=1, shifted=still
        )
        monkeypatch.setattr(classifiers, "_machine", fitted)
    own, all_ = np.array(sizes[0]), np.array(sizes[2000])
    np.testing.assert_array_equal(own[:6], all_[:6])
    assert (own[6:] <= all_[6:]).all()
    assert own[6:].sum() < all_[6:].sum()
    assert (own % 5 == 0)[6:].all()


@pytest.mark.parametrize("shifts", [0, 1])
def test_fitting_machines_tells_how_far_it_is(shifts):
    told = []
    KernelSVM(components=10, shifts=shifts).fit(
        RANKS[TRAIN], LABELS[TRAIN], steps=STEPS, seed=0, threads=2, shifted=still, tell=told.append
    )
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == pytest.approx(1)
    assert len(told) == 6 * (1 + shifts)


def test_shifts_need_the_images():
    net = network(shifts=1)
    seen = net.inputs("decision", latencies(60, side=28))
    with pytest.raises(UserError, match="option shifts: there are no images to shift here: take 0"):
        net.fit_phase("decision", seen, np.arange(60) % 3, from_inputs=True)
