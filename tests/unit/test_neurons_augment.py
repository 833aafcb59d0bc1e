"""Augmentation and noise of the gradient-trained networks: laws, shares, functions of the seed."""

import pytest
import torch

from firstspike.neurons import augment
from firstspike.neurons.trivial_augment import OPERATIONS, trivial_augment


def counts(n=400, steps=30, units=12):
    return (torch.rand(n, steps, units, generator=torch.Generator().manual_seed(0)) < 0.2).float() * 2


def pictures(n=64):
    return torch.randint(256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_noise_flips_as_often_as_its_level_says():
    x = counts()
    assert augment.flip_events(x, None, 1) is x
    for level in (0.0, 10.0, 20.0):
        y = augment.flip_events(x, level, 1)
        changed = (y != x).float().mean()
        assert abs(changed - x.mean() * 10 ** (-level / 20)) < 0.01
        assert set(y[y != x].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(augment.flip_events(x, 5.0, 1), augment.flip_events(x, 5.0, 1))
    assert not torch.equal(augment.flip_events(x, 5.0, 1), augment.flip_events(x, 5.0, 2))


@pytest.mark.parametrize(("mask", "axis"), [(augment.mask_steps, 1), (augment.mask_channels, 2)])
def test_masks_silence_one_short_run(mask, axis):
    x = torch.ones(400, 30, 12)
    y = mask(x, 3, longest=8)
    lost = (y == 0).all(2 if axis == 1 else 1)
    assert lost.sum(1).max() == 7
    runs = torch.diff(lost.int(), dim=1, prepend=torch.zeros(400, 1, dtype=torch.int32)).clamp(min=0).sum(1)
    assert runs.max() == 1
    assert abs((runs > 0).float().mean() - 0.65 * 7 / 8) < 0.08  # a run may have no length
    assert torch.equal(
        mask(x[5:], torch.arange(5, 400), longest=8), mask(x, torch.arange(400), longest=8)[5:]
    )


def test_steps_are_mixed_as_the_labels_are():
    x = torch.arange(40.0)[:, None, None].expand(40, 30, 3)
    mixed, labels = augment.mix_steps(x, torch.arange(40), 1, classes=40)
    assert torch.allclose(labels.sum(1), torch.ones(40))
    own = (mixed == x).float().mean((1, 2))
    torch.testing.assert_close(labels.diagonal(), own)
    assert ((mixed == x) | (mixed == x.roll(-1, 0))).all()
    assert 0.2 < (own < 1).float().mean() < 0.7


def test_images_are_mixed_as_the_labels_are():
    kinds = set()
    for seed in range(20):
        x = torch.arange(1.0, 9.0)[:, None, None, None].expand(8, 3, 32, 32)
        mixed, labels = augment.mix_images(x, torch.arange(8), seed, classes=8)
        torch.testing.assert_close(labels.sum(1), torch.ones(8))
        expected = (labels * torch.arange(1.0, 9.0)).sum(1)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), expected, rtol=1e-4, atol=1e-4)
        kinds.add(len(mixed[3].unique()) > 1)
    assert kinds == {True, False}


def test_mirror_and_erase():
    x = torch.rand(600, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.1
    y = augment.mirror(x, 1)
    same, turned = (y == x).flatten(1).all(1), (y == x.flip(3)).flatten(1).all(1)
    assert (same | turned).all()
    assert abs(turned.float().mean() - 0.5) < 0.08
    z = augment.erase(x, 2, chance=0.5)
    blank = (z == 0).float().mean((1, 2, 3))
    assert abs((blank > 0).float().mean() - 0.5) < 0.08
    assert blank.max() < 0.45
    assert torch.equal(z[blank == 0], x[blank == 0])


def test_columns_become_steps():
    images = torch.rand(2, 3, 32, 32)
    sequence = augment.columns_of(images)
    assert sequence.shape == (2, 32, 3, 32)
    torch.testing.assert_close(sequence[1, 7, 2], (images[1, 2, :, 7] - 0.4465) / 0.2010)


def test_trivial_augment_is_a_function_of_the_seed():
    x = pictures()
    keys = torch.arange(64)
    y = trivial_augment(x, keys)
    assert y.dtype == torch.uint8
    assert torch.equal(y, trivial_augment(x, keys))
    assert torch.equal(y[10:], trivial_augment(x[10:], keys[10:]))
    assert 0.6 < (y != x).flatten(1).any(1).float().mean() < 1
    assert len(OPERATIONS) == 14
