"""The compiled encoder and its twin in plain torch agree on any image, and both keep the laws of the code."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firstspike import coding
from firstspike.coding import NEVER
from s1c1 import S1C1

quick = settings(max_examples=30, deadline=None)
banks = st.sampled_from([coding.BANKS[name]() for name in coding.BANKS])
open_banks = st.sampled_from([bank for bank in (make() for make in coding.BANKS.values()) if not bank.late])
steps_to_try = st.sampled_from([1, 2, 7, 15, 40])


@st.composite
def pictures(draw, *, planes=1):
    """Noise, blank images, and few-valued patterns in which equal intensities are common."""
    count, height, width = draw(st.integers(1, 3)), draw(st.integers(5, 24)), draw(st.integers(5, 40))
    levels = draw(st.sampled_from([[0], [0, 255], [0, 50, 51], list(range(256))]))
    seed = draw(st.integers(0, 2**32))
    images = np.random.default_rng(seed).choice(np.array(levels, np.uint8), (count, planes, height, width))
    images[..., : draw(st.integers(0, height)), :] = 0
    return images


def assert_equal_up_to_near_ties(latency, images, bank, *, steps):
    """Cells may differ only where a cell beyond a bin border has their intensity, to 1e-5."""
    twin = coding.encode(torch.from_numpy(images), bank, steps=steps).numpy()
    strength = coding.intensities(torch.from_numpy(images), bank).numpy()
    for ours, theirs, g in zip(latency, twin, strength, strict=True):
        assert (ours != NEVER).sum() == (theirs != NEVER).sum()
        for cell in zip(*np.nonzero(ours != theirs), strict=True):
            rivals = g[(theirs == ours[cell]) | (ours == theirs[cell])]
            assert np.isclose(g[cell], rivals, rtol=1e-5).any(), (cell, ours[cell], theirs[cell], g[cell])


@quick
@given(pictures(), banks, steps_to_try)
def test_compiled_and_plain_encoder_agree(images, bank, steps):
    images = np.repeat(images, bank.planes, 1)
    before = images.copy()
    latency = coding.encode_compiled(images, bank, steps=steps)
    assert np.array_equal(images, before)
    assert_equal_up_to_near_ties(latency, images, bank, steps=steps)


@quick
@given(pictures(planes=2), steps_to_try)
def test_they_agree_on_several_planes(images, steps):
    for name in ("colour", "gabor"):
        bank = S1C1(name, image_channels=2).bank
        latency = coding.encode_compiled(images, bank, steps=steps)
        assert_equal_up_to_near_ties(latency, images, bank, steps=steps)


@quick
@given(pictures(), open_banks, steps_to_try)
def test_each_step_has_its_share_of_the_spikes(images, bank, steps):
    images = np.repeat(images, bank.planes, 1)
    found = (coding.intensities(torch.from_numpy(images), bank) > 0).flatten(1).sum(1).tolist()
    for latency, count in zip(coding.encode_compiled(images, bank, steps=steps), found, strict=True):
        spikes = np.bincount(latency[latency != NEVER], minlength=steps)
        if bank.even:
            assert spikes.sum() == count
            assert np.ptp(spikes) <= 1
        else:
            share = count // steps if count >= steps else 1
            assert spikes.tolist() == [share] * min(steps, count) + [0] * (steps - min(steps, count))


@quick
@given(pictures())
def test_a_batch_is_its_images_one_by_one(images):
    encoder = S1C1(steps=5)
    assert np.array_equal(encoder(images), np.concatenate([encoder(image[None]) for image in images]))


@quick
@given(
    hnp.arrays(np.float32, (2, 1, 3, 5), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0])),
    steps_to_try,
    st.booleans(),
)
def test_the_stronger_cell_never_fires_later(intensity, steps, even):
    latency = coding.rank_code(torch.from_numpy(intensity), steps=steps, even=even).numpy()
    for values, times in zip(intensity.reshape(2, -1), latency.reshape(2, -1).astype(int), strict=True):
        order = np.argsort(-values, kind="stable")
        assert (np.diff(times[order]) >= 0).all()
        assert (times[values == 0] == NEVER).all()


def test_responses_on_the_threshold_are_decided_in_float64():
    """A pixel 50 brighter than the plain around it gives the smallest on-centre filter 50, in float32 not quite."""
    images = np.repeat(np.arange(206, dtype=np.uint8), 81).reshape(-1, 1, 9, 9)
    images[:, :, 4, 4] += 50
    fired = coding.encode_compiled(images, coding.dog_bank(), steps=1) != NEVER
    strong = coding.intensities(torch.from_numpy(images), coding.dog_bank()) > 0
    assert strong[:, 0, 4, 4].all()
    assert np.array_equal(fired, strong.numpy())


def test_of_mirrored_orientations_the_lower_wins_on_the_mirror_line():
    half = np.random.default_rng(2).integers(0, 256, (20, 1, 7, 30), np.uint8)
    images = np.concatenate([half, half[:, :, -2::-1]], 2)  # 13 rows, so that output row 4 is the line
    bank = coding.gabor_bank()
    for latency in (
        coding.encode_compiled(images, bank, steps=15),
        coding.encode(torch.from_numpy(images), bank, steps=15).numpy(),
    ):
        assert (latency[:, [1, 3], 4] == NEVER).all()
        assert ((latency[:, [0, 2], 4] != NEVER).any(1)).mean() > 0.5  # all but the weakest


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_do_not_change_a_bit(threads):
    images = np.random.default_rng(5).integers(0, 256, (1100, 12, 12), np.uint8)
    assert np.array_equal(S1C1(threads=threads)(images), S1C1()(images))


@pytest.mark.parametrize("name", coding.BANKS)
def test_blank_images_are_silent(name):
    encoder = S1C1(name)
    blank = np.zeros((2, encoder.image_channels, 20, 20), np.uint8)
    assert (encoder(blank) == NEVER).all()
    assert (coding.encode(torch.from_numpy(blank), encoder.bank, steps=9) == NEVER).all()


@given(pictures(), st.integers(1, 30))
@quick
def test_a_latency_is_its_wave(images, steps):
    latency = torch.from_numpy(S1C1(steps=steps)(images))
    wave = coding.latency_to_wave(latency, steps=steps)
    assert torch.equal(coding.wave_to_latency(wave), latency)
    assert torch.equal(wave.sum(1), torch.where(latency < steps, steps - latency.long(), 0))
