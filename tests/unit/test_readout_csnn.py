"""STDP-CSNN where the recorded runs do not separate: equalities, ties, bounds, draws; and its state."""

import json

import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.kernels import patches
from firstspike.readouts.csnn import PUBLISHED, STDPCSNN, CSNNEngine
from firstspike.readouts.preprocessing import (
    Coding,
    apply_filters,
    code_all,
    difference_of_gaussians,
    fit_coding,
    published_whitening,
    whitening_filters,
)

F = np.float32
SMALL = STDPCSNN(filters=3, kernel=2, pool=1, threshold=1.0, least_threshold=0.5, beta=0.0, annealing=0.5)


def engine_of(settings=SMALL, shape=(2, 2, 1), weights=None, seed=0):
    zeros = np.zeros(shape, F)
    engine = CSNNEngine(settings, Coding(difference_of_gaussians(), zeros, zeros + 1), seed=seed)
    if weights is not None:
        engine.set_weights("conv1", np.reshape(weights, engine.weights().shape))
    return engine


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    return (generator.random((60, 12, 12)) ** 3 * 255).astype(np.uint8)


def test_training_fires_above_the_threshold_inference_at_it():
    times = F([[[[0.25], [0.5]], [[0.75], [1]]]])
    engine = engine_of(weights=[[0.5, 0.5, 0.25, 0], [0, 0, 0, 0], [0.25, 0.25, 0.25, 0]])
    np.testing.assert_array_equal(engine.infer(times)[0, 0, 0], F([0.5, 1, 1]))
    steps = engine.fit_phase("conv1", times, corners=np.zeros((1, 2), np.int64), record=True)
    assert steps.winners.tolist() == [0]
    late = 0.75 - 0.75  # the third event, at 0.75 = t_obj, takes filter 0 above 1
    np.testing.assert_allclose(steps.thresholds[0], [2.0 - late, 0.5, 0.5], rtol=1e-6)


def test_equal_times_are_integrated_one_by_one_in_order_of_place():
    """Filter 1 crosses at the first event of the group, filter 0 at the second: one by one, 1 wins."""
    times = F([[[[0.5], [0.5]], [[1], [1]]]])
    engine = engine_of(weights=[[0.6, 0.9, 0, 0], [1.0, 0.1, 0, 0], [0, 0, 0, 0]])
    engine._thresholds[:] = 0.9
    steps = engine.fit_phase("conv1", times, corners=np.zeros((1, 2), np.int64))
    assert steps.winners.tolist() == [1]


def test_the_lowest_filter_wins_whatever_its_potential():
    times = F([[[[0.5], [1]], [[1], [1]]]])
    engine = engine_of(weights=[[0.6, 0, 0, 0], [0.9, 0, 0, 0], [0, 0, 0, 0]])
    engine._thresholds[:] = 0.5
    assert engine.fit_phase("conv1", times, corners=np.zeros((1, 2), np.int64)).winners.tolist() == [0]


def test_nobody_fires_nothing_changes():
    engine = engine_of(weights=np.full(12, 0.1))
    steps = engine.fit_phase(
        "conv1", F(np.zeros((1, 2, 2, 1))), corners=np.zeros((1, 2), np.int64), record=True
    )
    assert steps.winners.tolist() == [-1]
    np.testing.assert_array_equal(engine.weights(), F(0.1))
    np.testing.assert_array_equal(steps.thresholds, 1)


def test_thresholds_stop_at_the_least_and_t_obj_can_be_off():
    times = F([[[[0.25], [1]], [[1], [1]]]])
    for t_obj, expected in ((-1.0, [1.5, 0.5, 0.5]), (0.75, [2.0, 0.5, 0.5])):
        settings = STDPCSNN(filters=3, kernel=2, pool=1, threshold=0.5, least_threshold=0.5, t_obj=t_obj)
        engine = engine_of(settings, weights=[[0.9, 0, 0, 0], [0] * 4, [0] * 4])
        steps = engine.fit_phase("conv1", times, corners=np.zeros((1, 2), np.int64), record=True)
        np.testing.assert_allclose(steps.thresholds[0], expected, rtol=1e-6)


def test_stdp_of_the_winner_and_annealing():
    times = F([[[[0.25], [0.25]], [[0.5], [1]]]])
    engine = engine_of(weights=[[0.95, 0.5, 0.05, 0.5], [0] * 4, [0] * 4])
    engine.fit_phase("conv1", times, corners=np.zeros((1, 2), np.int64))
    # it fires at 0.25: both inputs of that time count; the others are depressed; all within [0, 1]
    np.testing.assert_allclose(engine.weights()[0].ravel(), [1.0, 0.6, 0.0, 0.4], atol=1e-6)
    assert engine.rates() == pytest.approx({"threshold": 0.5, "ap": 0.05, "am": 0.05})


def test_with_wta_a_position_closes_with_its_first_spike():
    times = F([[[[0.25], [0.5]], [[1], [1]]]])
    weights = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    settings = STDPCSNN(filters=3, kernel=2, pool=1, threshold=1.0)
    np.testing.assert_array_equal(
        engine_of(settings, weights=weights).infer(times)[0, 0, 0], F([0.25, 0.25, 0.5])
    )
    closing = STDPCSNN(filters=3, kernel=2, pool=1, threshold=1.0, wta=True)
    np.testing.assert_array_equal(
        engine_of(closing, weights=weights).infer(times)[0, 0, 0], F([0.25, 0.25, 1])
    )


def plain_features(times, weights, thresholds, kernel, pool):
    """Every position and filter on its own, in plain numpy; weights (D, F)."""
    rows, cols = ((side - kernel + 1) // pool * pool for side in times.shape[:2])
    out = np.ones((rows, cols, weights.shape[1]), F)
    for x in range(rows):
        for y in range(cols):
            window = times[x : x + kernel, y : y + kernel].ravel()
            order = [d for d in np.argsort(window, kind="stable") if window[d] < 1]
            for f in range(weights.shape[1]):
                potential = F(0)
                for d in order:
                    potential = F(potential + weights[d, f])
                    if potential >= thresholds[f]:
                        out[x, y, f] = window[d]
                        break
    pooled = out.reshape(rows // pool, pool, cols // pool, pool, -1)
    return pooled.min(axis=(1, 3))


@pytest.mark.parametrize("pool", [1, 2, 3])
def test_features_are_their_plain_twin(pool):
    generator = np.random.default_rng(pool)
    settings = STDPCSNN(filters=6, kernel=3, pool=pool, threshold=2.0)
    engine = engine_of(settings, shape=(9, 8, 2))
    engine._weights = generator.random((18, 6)).astype(F)
    engine._thresholds = generator.random(6).astype(F) * 4
    times = np.round(generator.random((4, 9, 8, 2)) * 12).astype(F) / 8
    times = np.minimum(times, F(1))
    before = times.copy()
    found = engine.infer(times)
    np.testing.assert_array_equal(times, before)
    for image, own in zip(times, found, strict=True):
        expected = plain_features(image, engine._weights, engine._thresholds, 3, pool)
        np.testing.assert_array_equal(own, expected)


def test_corners_stay_in_the_published_part_or_anywhere():
    generator = np.random.default_rng(0)
    published = STDPCSNN().corners((28, 32, 2), 5000, generator)
    assert published.min() == 0
    assert published.max(axis=0).tolist() == [19, 23]
    everywhere = STDPCSNN(patch_range="all").corners((28, 32, 2), 5000, generator)
    assert everywhere.max(axis=0).tolist() == [23, 27]
    assert STDPCSNN().corners((9, 9, 2), 50, generator).max() == 0  # W_out = 5: always the corner
    with pytest.raises(UserError, match="expected 'published' or 'all'"):
        STDPCSNN(patch_range="some")


def test_a_feature_that_was_dark_in_training_fires_at_once_when_lit(images):
    dark = images.copy()
    dark[:, 0, 0] = 0
    lit = np.zeros((1, 12, 12), np.uint8)
    filters = np.ones((1, 1, 1, 1), F)
    coding = fit_coding(dark, filters)
    times = coding.times(lit)
    assert np.all(times == 1)
    lit[0, 0, 0] = 1
    assert coding.times(lit)[0, 0, 0, 0] == 0
    flat = np.full((3, 12, 12), 9, np.uint8)
    assert np.all(fit_coding(flat, filters).times(flat) == 1)  # constant: 0 after scaling, no spike


def test_coding_does_not_depend_on_threads_and_covers_the_range(images):
    codings = [fit_coding(images, difference_of_gaussians(), threads=threads) for threads in (1, 2, 8)]
    for other in codings[1:]:
        np.testing.assert_array_equal(codings[0].minimum, other.minimum)
        np.testing.assert_array_equal(codings[0].maximum, other.maximum)
    times = code_all(codings[0], images)
    np.testing.assert_array_equal(times, codings[0].times(images))
    assert (times.min(), times.max(), times.shape) == (0, 1, (60, 12, 12, 2))


def test_filters_repeat_the_edge(images):
    filters = np.random.default_rng(0).random((2, 3, 5, 1)).astype(F)
    found = apply_filters(images[:2], filters)
    padded = np.pad(images[:2] / F(255), ((0, 0), (1, 1), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 5), axis=(1, 2))
    for o in range(2):
        expected = (windows * filters[o, :, :, 0]).sum(axis=(3, 4))
        np.testing.assert_allclose(found[..., 2 * o] - found[..., 2 * o + 1], expected, rtol=1e-5)
    with pytest.raises(UserError, match="images of 1 colours; the filters are for 3"):
        apply_filters(images, np.zeros((3, 3, 3, 3), F))


def test_whitened_patches_have_no_covariance():
    generator = np.random.default_rng(1)
    mixing = generator.normal(0, 1, (3, 3))
    colours = generator.random((40, 20, 20, 3)) @ mixing * 0.1 + 0.5
    filters = whitening_filters(F(colours), size=1, stride=1, eps=0.0)
    assert filters.shape == (3, 1, 1, 3)
    assert abs(filters.sum(axis=(1, 2, 3))).max() < 1e-4
    few = whitening_filters(F(colours), size=3, stride=2, most=100)
    np.testing.assert_array_equal(
        few, whitening_filters(F(colours)[:2], size=3, stride=2)
    )  # 81 patches an image
    channels_first = F(colours).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        published_whitening(channels_first), whitening_filters(F(colours).transpose(0, 2, 1, 3)), atol=1e-5
    )


def test_a_resumed_run_is_equal_to_the_bit(images):
    coding = fit_coding(images, difference_of_gaussians())
    times = code_all(coding, images)
    settings = STDPCSNN(filters=8, kernel=3, pool=2, threshold=2.0)
    through, first = CSNNEngine(settings, coding, seed=4), CSNNEngine(settings, coding, seed=4)
    for _ in range(3):
        through.fit_phase("conv1", times)
    first.fit_phase("conv1", times)
    arrays, counters = first.state()
    second = CSNNEngine(settings, fit_coding(images[:9], difference_of_gaussians()), seed=4)
    second.load_state(arrays, json.loads(json.dumps(counters)))
    for _ in range(2):
        second.fit_phase("conv1", times)
    features = through.features(images, threads=1)
    np.testing.assert_array_equal(features, second.features(images, threads=2))
    np.testing.assert_array_equal(through.events(images).dense(), features.reshape(60, -1))
    assert through.rates() == second.rates()
    with pytest.raises(UserError, match="belongs to another extractor"):
        engine_of().load_state(arrays, counters)


def test_published_settings_and_sizes():
    assert PUBLISHED["mnist"].output((28, 28, 2)) == (6, 6, 128)
    assert PUBLISHED["cifar10"].output((32, 32, 6)) == (7, 7, 128)
    with pytest.raises(UserError, match="images of 7 x 28; expected 8 x 8 at least"):
        STDPCSNN().output((7, 28, 2))
    with pytest.raises(UserError, match=r"expected \(N, \*\(2, 2, 1\)\), float32"):
        engine_of().infer(np.zeros((1, 3, 3, 1), F))
    with pytest.raises(UserError, match="no phase or layer 'readout'"):
        engine_of().weights("readout")


def test_keys_keep_time_and_place():
    times = F([[[1.0, 0.5]], [[0.25, 0.5]]])
    keys = np.empty(4, np.uint64)
    count = patches.sort_spikes(times, 0, 0, 2, 1, keys)
    assert [(patches.time_of(key), patches.place_of(key)) for key in keys[:count]] == [
        (0.25, 2),
        (0.5, 1),
        (0.5, 3),
    ]
