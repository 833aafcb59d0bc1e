"""The encoder as its users call it: shapes, kinds, settings, refusals."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from firstspike.coding import BANKS, NEVER
from firstspike.errors import UserError
from s1c1 import S1C1

GENERATOR = np.random.default_rng(1)
DIGITS = GENERATOR.integers(0, 256, (3, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("filters", "planes", "channels", "steps", "size"),
    [
        ("dog", 1, 6, 15, 28),
        ("colour", 3, 18, 20, 30),
        ("gabor", 1, 4, 15, 24),
        ("kheradpisheh", 1, 2, 15, 28),
        ("log", 1, 6, 15, 28),
        ("log-large", 1, 6, 15, 28),
        ("gabor3", 1, 4, 15, 26),
        ("gabor-eth80", 1, 4, 15, 6),
        ("gabor-norb", 1, 4, 30, 6),
        ("gabor-caltech", 1, 4, 15, 4),
    ],
)
def test_each_bank_gives_what_it_says(filters, planes, channels, steps, size):
    encoder = S1C1(filters)
    images = np.stack([DIGITS] * planes, 1)
    latency = encoder(images)
    assert (encoder.channels, encoder.steps) == (channels, steps)
    assert encoder.output_size(28, 28) == (size, size)
    assert latency.shape == (3, channels, size, size)
    assert latency.dtype == np.uint8
    assert set(np.unique(latency)) <= {*range(steps), NEVER}
    if planes == 1:
        assert np.array_equal(encoder(DIGITS), latency)


def test_every_bank_is_in_the_table_above():
    pooled = {"gabor-eth80", "gabor-norb", "gabor-caltech"}
    assert set(BANKS) == {"dog", "colour", "gabor", "gabor3", "kheradpisheh", "log", "log-large"} | pooled


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 5), (17, 64)])
def test_any_image_size(shape):
    images = GENERATOR.integers(0, 256, (2, *shape), np.uint8)
    assert S1C1()(images).shape == (2, 6, *shape)


def test_any_number_of_planes():
    images = GENERATOR.integers(0, 256, (2, 2, 20, 20), np.uint8)
    encoder = S1C1("colour", image_channels=2)
    assert encoder.channels == 12
    assert encoder(images).shape == (2, 12, 22, 22)


def test_no_images_give_no_latencies():
    assert S1C1()(DIGITS[:0]).shape == (0, 6, 28, 28)


def test_summed_planes_give_each_filter_three_times():
    images = GENERATOR.integers(0, 256, (2, 3, 16, 16), np.uint8)
    latency = S1C1("colour", planes="sum", steps=5)(images).reshape(2, 6, 3, 18, 18)
    assert ((latency != NEVER).sum((0, 2, 3, 4)) > 0).all()
    whole = S1C1("colour", image_channels=1, steps=5)(images.sum(1).clip(0, 255).astype(np.uint8))
    assert whole.shape == (2, 6, 18, 18)
    one = (latency == NEVER).astype(int)
    assert np.abs(one[:, :, 0] - one[:, :, 2]).mean() < 0.01  # the same but for ties, which go by the channel


def test_grey_is_what_pillow_makes_of_colours():
    from PIL import Image

    images = GENERATOR.integers(0, 256, (2, 3, 16, 16), np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(np.moveaxis(image, 0, 2)).convert("L")) for image in images])
    encoder = S1C1("gabor3", image_channels=3, planes="grey")
    assert encoder.channels == 4
    assert np.array_equal(encoder(images), S1C1("gabor3")(grey))
    assert np.array_equal(encoder(torch.from_numpy(images)).numpy(), S1C1("gabor3")(grey))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64])
def test_tensors_give_tensors(dtype):
    latency = S1C1()(torch.from_numpy(DIGITS).to(dtype))
    assert isinstance(latency, torch.Tensor)
    assert np.array_equal(latency.numpy(), S1C1()(DIGITS))


def test_memory_that_may_not_be_written_and_odd_strides_are_fine():
    locked = np.repeat(DIGITS, 2, 2)[:, :, ::2]
    locked.flags.writeable = False
    assert np.array_equal(S1C1()(locked), S1C1()(DIGITS))


def test_the_key_names_every_setting():
    variants = [
        S1C1(),
        S1C1(steps=16),
        S1C1("colour"),
        S1C1("colour", planes="sum"),
        S1C1("colour", image_channels=4),
        S1C1("gabor", image_channels=3),
        S1C1("gabor", image_channels=3, planes="grey"),
        *(S1C1(name) for name in BANKS if name not in ("dog", "colour")),
    ]
    assert len({encoder.key for encoder in variants}) == len(variants)
    assert S1C1().key == S1C1("dog", steps=15).key == S1C1(threads=2).key


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (DIGITS[0], r"images of shape \(28, 28\): give \(N, H, W\) or \(N, planes, H, W\)"),
        (np.stack([DIGITS] * 3, 1), "images with 3 planes, but this encoder takes 1"),
        (np.full((1, 9, 9), np.nan), "pixels from nan to nan: they must be numbers from 0 to 255"),
        (np.full((1, 9, 9), -1), "pixels from -1 to -1: they must be numbers from 0 to 255"),
        (np.full((1, 9, 9), 256.0), "pixels from 256 to 256"),
        (DIGITS / 255, "pixels end at 1: they run from 0 to 255 here, so multiply these by 255"),
        (np.zeros((1, 0, 9), np.uint8), "images of 0x9: 'dog' needs at least 1 each way"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(UserError, match=message):
        S1C1()(images)
    with pytest.raises(UserError, match=message):
        S1C1()(torch.from_numpy(np.asarray(images)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": "dogs"}, "unknown filters 'dogs': choose one of dog, colour, gabor, .*log"),
        ({"steps": 0}, "steps=0: a latency is one byte, so choose 1 to 255"),
        ({"steps": 256}, "steps=256: a latency is one byte"),
        ({"planes": "mean"}, "planes='mean': choose one of separate, sum, grey"),
        ({"planes": "grey"}, 'planes="grey" with image_channels=1: it takes the 3 of a colour'),
        ({"image_channels": 0}, "image_channels=0: an image has at least one"),
    ],
)
def test_settings_that_make_no_encoder_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        S1C1(**settings)


def test_encoding_arrays_needs_no_torch():
    encode = "import sys, s1c1, numpy; s1c1.S1C1()(numpy.zeros((1, 8, 8), 'uint8'))"
    subprocess.run([sys.executable, "-c", f"{encode}; assert 'torch' not in sys.modules"], check=True)
