"""firstspike.coding by example: kernels against their formulas, the rules of the rank code, waves."""

import numpy as np
import pytest
import torch

from firstspike import coding
from firstspike.coding import NEVER
from firstspike.errors import UserError


def ranked(*values, steps, even=False):
    return coding.rank_code(torch.tensor(values).view(1, 1, 1, -1), steps=steps, even=even).flatten().tolist()


def test_a_difference_of_gaussians_entry_by_entry():
    kernel = coding.dog_kernel(3, 3 / 9, 6 / 9)
    q = np.array([[2, 1, 2], [1, 0, 1], [2, 1, 2]])
    d = (np.exp(-q / (2 * (1 / 3) ** 2)) * 9 - np.exp(-q / (2 * (2 / 3) ** 2)) * 9 / 4) / (2 * np.pi)
    d -= d.mean()
    np.testing.assert_allclose(kernel, d / d.max(), rtol=1e-6)
    assert kernel[1, 1] == 1


@pytest.mark.parametrize(("window", "scale", "centre"), [(3, 3, -6.41), (7, 7, -9.78), (13, 13, -9.58)])
def test_off_centre_kernels_have_a_larger_gain(window, scale, centre):
    kernel = coding.dog_kernel(window, 2 * scale / 9, scale / 9)
    assert kernel.max() == 1
    assert kernel[window // 2, window // 2] == pytest.approx(centre, abs=0.01)


def test_a_gabor_kernel_runs_along_its_orientation():
    kernel = coding.gabor_kernel(5, 90.0)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-6)
    assert np.ptp(kernel[2]) > 2 * np.ptp(kernel[:, 2])
    assert abs(kernel.mean()) < 1e-6


def test_kernels_are_centred_in_the_largest():
    stack = coding.stack_kernels([np.ones((1, 1), np.float32), np.ones((3, 3), np.float32)])
    assert stack[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", coding.BANKS)
def test_a_bank_is_its_settings(name):
    bank = coding.BANKS[name]()
    assert bank.name == name
    assert bank.kernels.dtype == np.float32
    assert bank.digest == coding.BANKS[name]().digest
    others = {coding.BANKS[other]().digest for other in coding.BANKS if other != name}
    assert bank.digest not in others


@pytest.mark.parametrize("name", coding.BANKS)
def test_encoding_copies_nothing_to_the_host(name):
    bank = coding.BANKS[name]()
    images = torch.empty(4, bank.planes, 28, 28, dtype=torch.uint8, device="meta")
    height, width = bank.output_size(28, 28)
    assert coding.encode(images, bank, steps=15).shape == (4, len(bank.kernels) * bank.planes, height, width)


def test_colour_channels_are_one_filter_on_one_plane():
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    images[0, 1, 10:20, 12:15] = 255
    latency = coding.encode(images, coding.colour_bank(), steps=20)
    assert latency.shape == (1, 18, 34, 34)
    spikes = (latency != NEVER).sum((0, 2, 3))
    assert (spikes[1::3] > 0).all()
    assert spikes[0::3].sum() + spikes[2::3].sum() == 0


def test_equal_bins_lose_the_weakest_remainder():
    assert ranked(7.0, 6.0, 0.0, 5.0, 4.0, 3.0, 2.0, steps=2) == [0, 0, NEVER, 0, 1, 1, 1]
    assert ranked(1.0, 2.0, 3.0, 4.0, 5.0, steps=2) == [NEVER, 1, 1, 0, 0]


def test_fewer_cells_than_steps_fire_one_a_step():
    assert ranked(2.0, 0.0, 3.0, steps=5) == [1, NEVER, 0]
    assert ranked(0.0, 0.0, steps=5) == [NEVER, NEVER]


def test_equal_intensities_go_by_their_index():
    assert ranked(1.0, 1.0, 1.0, 1.0, steps=2) == [0, 0, 1, 1]


def test_even_bins_lose_nothing():
    assert ranked(5.0, 4.0, 3.0, 2.0, 1.0, steps=2, even=True) == [0, 0, 0, 1, 1]
    assert ranked(0.0, 0.0, steps=2, even=True) == [NEVER, NEVER]
    assert ranked(3.0, steps=15, even=True) == [0]


def test_local_normalisation_divides_by_the_whole_square_at_the_border():
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    assert coding.local_normalisation(x, 1).item() == pytest.approx(9)
    assert coding.local_normalisation(torch.zeros(1, 2, 3, 3), 1).sum() == 0


def test_lateral_inhibition_raises_the_stronger():
    x = torch.tensor([[[[2.0, 1.0, 1.0]]]])
    kernel = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.0, 0.1], [0.1, 0.1, 0.1]])
    raised = coding.lateral_inhibition(x, kernel)
    torch.testing.assert_close(raised, torch.tensor([[[[2 * 1.8, 1.6, 1.7]]]]))


def test_waves_and_latencies_are_each_other():
    latency = torch.tensor([[0, 1], [2, NEVER]], dtype=torch.uint8)[None]
    wave = coding.latency_to_wave(latency, steps=3)
    assert wave.int()[:, 0].flatten(1).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert torch.equal(coding.wave_to_latency(wave.float()), latency)


def test_more_steps_than_a_byte_holds_are_refused():
    with pytest.raises(UserError, match="256 time steps: a latency is one byte, so use at most 255"):
        coding.wave_to_latency(torch.zeros(256, 1, 1, 1))


def test_an_image_smaller_than_the_filters_is_refused():
    with pytest.raises(UserError, match=r"images of 4x9: 'gabor' needs at least 5 each way"):
        coding.gabor_bank().output_size(4, 9)
