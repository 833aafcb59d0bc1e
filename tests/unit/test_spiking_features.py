"""Layers of networks as transformers of scikit-learn."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from firstspike.data.splits import order
from firstspike.description import Description
from firstspike.errors import UserError
from firstspike.features import LEAST, SpikingFeatures, framed
from models import create_model
from s1c1 import S1C1

DIGITS, LABELS = load_digits(return_X_y=True)
IMAGES = (DIGITS.reshape(-1, 8, 8) * 15.9).astype(np.uint8)


def small(**options):
    sizes = {"image_size": (8, 8), "conv1_maps": 6, "conv2_maps": 8, "conv1_threshold": 5.0}
    return create_model("mozafari2018", conv2_threshold=2.0, **{**sizes, **options})


@parametrize_with_checks([SpikingFeatures(small(), layer=layer, epochs=1) for layer in ("conv1", "conv2")])
def test_scikit_learn_is_content(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def latencies():
    return S1C1()(IMAGES[:200])


@pytest.fixture(scope="module")
def fitted():
    return SpikingFeatures(small(), epochs=1).fit(IMAGES[:200])


def alike(fitted, **options):
    """The same network with the same weights."""
    net = small(**options)
    for layer in ("conv1", "conv2"):
        net.set_weights(layer, fitted.engine_.weights(layer))
    return net


def test_features_are_what_the_network_hands_on(fitted, latencies):
    net = alike(fitted)
    seen = net.inputs("decision", latencies).reshape(200, -1)
    np.testing.assert_array_equal(fitted.transform(IMAGES[:200]), net.steps - np.minimum(seen, net.steps))
    assert fitted.transform(IMAGES[:3]).shape == (3, len(fitted.get_feature_names_out()))


@pytest.mark.parametrize("as_", ["latency", "rank", "potential"])
@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_features_are_those_of_the_layer(fitted, latencies, layer, as_):
    net = alike(fitted)
    settings = {"layer": layer, "as_": as_, "pooled": False, "epochs": 0}
    found = SpikingFeatures(net, **settings).fit_transform(IMAGES[:200])
    np.testing.assert_array_equal(found, net.features(latencies, layer, as_).reshape(200, -1))


def test_potentials_are_pooled_by_the_largest(fitted, latencies):
    net = alike(fitted)
    found = SpikingFeatures(net, layer="conv1", as_="potential", epochs=0).fit_transform(IMAGES[:200])
    every = net.features(latencies, "conv1", "potential").reshape(200, 6, 4, 2, 4, 2)
    np.testing.assert_array_equal(found, every.max(axis=(3, 5)).reshape(200, -1))


def test_layers_learn_as_in_the_trainer(fitted, latencies):
    net = small()
    for phase in ("conv1", "conv2"):
        net.fit_phase(phase, latencies[order(200, seed=0, phase=phase, epoch=0)])
        np.testing.assert_array_equal(net.weights(phase), fitted.engine_.weights(phase))
    assert (fitted.model.weights("conv1") == small().weights("conv1")).all()  # it is never changed


def test_images_latencies_and_rows_are_the_same(fitted, latencies):
    expected = fitted.transform(IMAGES[:50])
    rows = IMAGES.reshape(-1, 64)
    np.testing.assert_array_equal(clone(fitted).fit(rows[:200]).transform(rows[:50]), expected)
    np.testing.assert_array_equal(clone(fitted).fit(latencies).transform(latencies[:50]), expected)
    np.testing.assert_array_equal(clone(fitted).fit(IMAGES[:200].tolist()).transform(IMAGES[:50]), expected)
    np.testing.assert_array_equal(
        clone(fitted).set_params(n_jobs=2).fit(IMAGES[:200]).transform(IMAGES[:50]), expected
    )


def test_pixels_of_another_kind_span_the_grey_of_training():
    plain = SpikingFeatures(small(), epochs=1).fit(DIGITS[:200])
    scaled = clone(plain).fit(DIGITS[:200] * 7 - 3)
    np.testing.assert_array_equal(plain.transform(DIGITS[:99]), scaled.transform(DIGITS[:99] * 7 - 3))
    assert plain.transform(DIGITS[:99]).any(axis=1).all()


def test_rows_are_framed():
    images = framed(np.arange(1, 7, dtype=np.uint8).reshape(1, 6), None)
    assert images.shape == (1, LEAST, LEAST)
    np.testing.assert_array_equal(images[0, 2:5, 2:5].ravel(), [1, 2, 3, 4, 5, 6, 0, 0, 0])
    assert framed(np.zeros((2, 60)), (6, 10)).shape == (2, LEAST, 10)


def test_in_a_pipeline_and_a_search():
    machine = make_pipeline(SpikingFeatures(small(), epochs=1), LinearSVC(C=0.01))
    grid = {
        "spikingfeatures__layer": ["conv1", "conv2"],
        "spikingfeatures__model": [small(conv1_maps=2), small()],
    }
    search = GridSearchCV(machine, grid, cv=2).fit(IMAGES[:300], LABELS[:300])
    assert search.best_score_ > 0.3
    assert search.best_estimator_.score(IMAGES[300:600], LABELS[300:600]) > 0.3


def test_a_description_will_do(latencies):
    net = small()
    features = SpikingFeatures(net.describe(), epochs=1, as_="latency").fit_transform(IMAGES[:200])
    np.testing.assert_array_equal(
        features, SpikingFeatures(net, epochs=1, as_="latency").fit_transform(IMAGES[:200])
    )
    assert isinstance(net.describe(), Description)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"layer": "conv9"}, "readout layer conv9: this network has conv1, conv2"),
        ({"as_": "colour"}, "features as 'colour': choose one of latency, potential, rank"),
    ],
)
def test_what_cannot_be_is_refused(settings, line):
    with pytest.raises(UserError, match=line):
        SpikingFeatures(small(), **settings).fit(IMAGES[:9])


def test_images_of_another_size_are_refused(fitted):
    with pytest.raises(ValueError, match="36 features, but SpikingFeatures is expecting 64"):
        fitted.transform(IMAGES[:9, :6, :6])
