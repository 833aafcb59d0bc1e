from pathlib import Path

import numpy as np
import pytest

from firstspike.report.features import (
    Pictures,
    back_project,
    cropped,
    input_pictures,
    signed,
    through_mean,
    through_pool,
    through_weights,
)

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.random(shape).astype(np.float32)


def test_recorded_features():
    with np.load(Path(__file__).parents[1] / "golden" / "functional.npz", allow_pickle=False) as golden:
        kernels, w, strides = (
            golden["filter__2__kernels"],
            golden["deep_feature__w16"],
            golden["deep_feature__strides"],
        )
        levels = [golden[f"deep_feature__level{i}"] for i in range(3)]
    pictures = Pictures(np.ones((1, 1, 1, 1), np.float32))
    steps = [("weights", kernels), ("pool", 3, 2), ("weights", w.astype(np.float32))]
    for step, level, stride in zip(steps, levels, strides, strict=True):
        pictures = back_project([step], pictures)
        np.testing.assert_allclose(pictures.planes[0], level, atol=1e-6)
        assert pictures.stride == stride[0]


def test_a_first_layer_shows_on_minus_off():
    w = weights(7, 6, 5, 5)
    pictures = back_project([("weights", w)], input_pictures([[0, 2, 4]], [[1, 3, 5]], channels=6))
    np.testing.assert_allclose(signed(pictures), w[:, 0::2].max(axis=1) - w[:, 1::2].max(axis=1), rtol=1e-6)


def test_colours_are_signed_each_by_itself():
    on, off = [[0, 6], [1, 7], [2, 8]], [[3, 9], [4, 10], [5, 11]]
    w = weights(3, 12, 3, 3)
    images = signed(back_project([("weights", w)], input_pictures(on, off, channels=12)))
    assert images.shape == (3, 3, 3, 3)
    np.testing.assert_allclose(
        images[..., 2], w[:, [2, 8]].max(axis=1) - w[:, [5, 11]].max(axis=1), rtol=1e-6
    )


def test_size_is_the_receptive_field():
    chain = [
        ("weights", weights(4, 6, 5, 5)),
        ("pool", 2, 2),
        ("weights", weights(5, 4, 3, 3)),
        ("pool", 3, 3),
    ]
    start = input_pictures([range(3)], [range(3, 6)], channels=6)
    sizes = [back_project(chain[:n], start).planes.shape[2:] for n in range(1, 5)]
    assert sizes == [(5, 5), (6, 6), (10, 10), (14, 14)]
    assert back_project(chain, start).stride == 6


def test_a_single_synapse_is_drawn_where_it_looks():
    below = np.zeros((1, 1, 3, 3), np.float32)
    below[0, 0, 0, 2] = 1.0  # the first layer's map looks at its upper right
    above = np.zeros((1, 1, 2, 2), np.float32)
    above[0, 0, 1, 0] = 0.5  # the second layer's at its lower left neighbour, a stride of 2 pixels down
    chain = [("weights", below), ("pool", 1, 2), ("weights", above)]
    image = back_project(chain, Pictures(np.ones((1, 1, 1, 1), np.float32))).planes[0, 0]
    assert image.shape == (5, 5)
    assert np.argwhere(image).tolist() == [[2, 2]]
    assert image[2, 2] == 0.5


def test_the_strongest_input_counts_and_not_the_sum():
    image = through_weights(
        Pictures(np.ones((1, 9, 1, 1), np.float32)), np.full((1, 9, 1, 1), 0.3, np.float32)
    )
    assert image.planes.item() == pytest.approx(0.3)
    negative = through_weights(
        Pictures(np.ones((1, 2, 1, 1), np.float32)), np.full((1, 2, 1, 1), -1, np.float32)
    )
    assert negative.planes.item() == 0


def test_the_mean_of_equal_weights_is_that_weight_wherever_something_is_seen():
    start = Pictures(weights(2, 3, 4, 4), 2)
    picture = through_mean(start, np.full((5, 3, 3, 3), 0.7, np.float32))
    assert picture.planes.shape == (2, 5, 8, 8)
    np.testing.assert_allclose(picture.planes, 0.7, rtol=1e-5)


def test_the_mean_weighs_synapses_by_what_they_see():
    planes = np.zeros((1, 2, 1, 2), np.float32)
    planes[0, :, 0, 0] = 3.0, 1.0  # both inputs see the left pixel, nobody the right one
    w = np.array([0.2, 0.6], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(through_mean(Pictures(planes), w).planes[0, 0], [[0.3, 0.0]], rtol=1e-6)
    planes[0, 0, 0, 1] = 0.01  # hardly anybody sees the right pixel: left blank
    np.testing.assert_allclose(through_mean(Pictures(planes), w).planes[0, 0], [[0.3, 0.0]], rtol=1e-6)
    blank = through_mean(Pictures(np.zeros_like(planes)), w)
    np.testing.assert_array_equal(blank.planes, 0)


def test_branches_are_joined_in_the_middle():
    start = Pictures(np.ones((2, 3, 4, 4), np.float32), 4)
    chains = [[("weights", weights(2, 3, 1, 1))], [("weights", weights(5, 3, 3, 3))]]
    joined = back_project([("branches", chains)], start)
    assert joined.planes.shape == (2, 7, 12, 12)
    np.testing.assert_array_equal(joined.planes[:, :2, 4:8, 4:8], back_project(chains[0], start).planes)
    np.testing.assert_array_equal(joined.planes[:, 2:], back_project(chains[1], start).planes)
    assert joined.planes[:, :2, :4].max() == 0
    assert joined.stride == 4


def test_arguments_are_left_alone():
    start, w = Pictures(np.ones((1, 2, 3, 3), np.float32)), weights(4, 2, 3, 3)
    before = start.planes.copy(), w.copy()
    through_weights(start, w)
    through_pool(start, 3, 2)
    through_mean(start, w)
    np.testing.assert_array_equal(start.planes, before[0])
    np.testing.assert_array_equal(w, before[1])


def test_larger_fields_than_the_image_are_cropped():
    images = RNG.random((2, 38, 30, 3))
    np.testing.assert_array_equal(cropped(images, 28, 28), images[:, 5:33, 1:29])
    np.testing.assert_array_equal(cropped(images, 40, 30), images)
