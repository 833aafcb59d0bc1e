"""The drop-in modules beyond the recordings: batches, odd sizes, silence, state dicts, files, refusals."""

import copy
import itertools
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

from firstspike import coding
from firstspike import functional as core
from firstspike.errors import UserError
from firstspike.spyketorch import functional as sf
from firstspike.spyketorch import snn, utils, visualization

STEPS = 6


def waves(*shape, seed=0):
    """Random cumulative float waves (..., T, C, H, W) of the given latency shape (..., C, H, W)."""
    latency = np.random.default_rng(seed).integers(0, STEPS + 1, shape, np.uint8)
    return coding.latency_to_wave(torch.from_numpy(latency), steps=STEPS).float()


def layer_and_rule(*, maps=5, channels=3, kernel=3, rates=(0.1, -0.05), **options):
    torch.manual_seed(0)
    layer = snn.Convolution(channels, maps, kernel, 0.5, 0.2)
    return layer, snn.STDP(layer, rates, **options)


# --- batches -----------------------------------------------------------------------------------------------


OPERATIONS = {
    "pad": lambda x: sf.pad(x, (1, 2, 0, -1), 3),
    "pooling": lambda x: sf.pooling(x, [2, 3], 2, (1, 1)),
    "fire": lambda x: sf.fire(x * 3, 2.5),
    "fire at the end": sf.fire,
    "threshold": lambda x: sf.threshold(x * 3, 2.5),
    "pointwise_inhibition": sf.pointwise_inhibition,
    "feature_inhibition": lambda x: sf.feature_inhibition(x, [0, 2]),
    "local_normalization": lambda x: sf.local_normalization(x, 2),
    "convolution": lambda x: layer_and_rule()[0](x),
    "snn.Pooling": snn.Pooling(2),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_batch_is_its_images_one_by_one(name):
    batch = waves(4, 3, 6, 7)
    before = batch.clone()
    each = torch.stack([OPERATIONS[name](image) for image in batch])
    torch.testing.assert_close(OPERATIONS[name](batch), each)
    assert torch.equal(batch, before)


def test_winners_of_a_batch_are_a_list_for_each_image():
    batch = waves(3, 4, 5, 5)
    batch[1] = 0
    won = sf.get_k_winners(batch, 3, 1)
    assert won == [sf.get_k_winners(image, 3, 1) for image in batch]
    assert won[1] == []


def test_intensities_of_a_batch():
    images = torch.rand(3, 2, 5, 5)
    code = utils.Intensity2Latency(STEPS)
    assert torch.equal(code(images), torch.stack([code(image[None]) for image in images]))


def test_a_batch_learns_the_sum_of_its_images():
    batch = waves(2, 3, 6, 6)
    layer, stdp = layer_and_rule(use_stabilizer=False, lower_bound=-9, upper_bound=9)
    start, changes = layer.weight.clone(), []
    potentials = layer(batch)
    spikes, kept = sf.fire(potentials, 3.0, True)
    for image in range(2):
        layer.load_weight(start)
        stdp(batch[image], kept[image], spikes[image], kwta=2)
        changes.append(layer.weight - start)
    layer.load_weight(start)
    stdp(batch, kept, spikes, kwta=2)
    torch.testing.assert_close(layer.weight.data, start + sum(changes))
    orders = stdp.get_pre_post_ordering(batch, spikes, sf.get_k_winners(kept, 2, 0, spikes))
    assert [len(image) for image in orders] == [2, 2]


# --- equal to firstspike.functional ------------------------------------------------------------------------


def test_a_layer_equals_the_compact_form():
    latency = torch.from_numpy(np.random.default_rng(1).integers(0, STEPS + 1, (2, 3, 9, 9), np.uint8))
    wave = coding.latency_to_wave(latency, steps=STEPS).float()
    layer, stdp = layer_and_rule()
    layer.load_weight((layer.weight * 64).round() / 64)  # sums of these are exact in float32
    spikes, kept = sf.fire(layer(wave), 3.0, True)
    fired, potential = core.fire(core.potentials(latency, layer.weight, steps=STEPS), 3.0)
    assert torch.equal(coding.wave_to_latency(spikes), fired)
    inhibited = core.inhibit(fired, potential)
    assert torch.equal(coding.wave_to_latency(sf.pointwise_inhibition(kept)), inhibited[0])
    won = core.winners(*inhibited, k=3, radius=1)
    found = sf.get_k_winners(sf.pointwise_inhibition(kept), 3, 1)
    assert [[list(winner) for winner in image] for image in found] == [
        [winner for winner in image if winner[0] >= 0] for image in won.tolist()
    ]
    expected = core.stdp(layer.weight, latency, inhibited[0], won, ltp=0.1, ltd=-0.05)
    stdp(wave, sf.pointwise_inhibition(kept), spikes, found)
    assert torch.equal(layer.weight, expected)
    pooled = sf.pooling(spikes.flatten(0, 1), 2).unflatten(0, (2, STEPS))
    assert torch.equal(coding.wave_to_latency(pooled), core.pool_latency(fired, 2))


# --- sizes, silence, one step --------------------------------------------------------------------------------


def test_one_step_and_maps_of_one_cell():
    wave = torch.ones(1, 3, 3, 3)
    layer, stdp = layer_and_rule()
    spikes, kept = sf.fire(layer(wave), 0.0, True)
    assert kept.shape == (1, 5, 1, 1)
    inhibited = sf.pointwise_inhibition(kept)
    assert (inhibited > 0).sum() == 1
    winners = sf.get_k_winners(kept, 9, 2)
    assert winners == [(kept.flatten().argmax().item(), 0, 0)]
    stdp(wave, kept, spikes, winners)
    assert utils.Intensity2Latency(1)(torch.rand(1, 1, 1, 1) + 1).shape == (1, 1, 1, 1)


def test_silence_everywhere():
    wave = torch.zeros(STEPS, 3, 5, 5)
    layer, stdp = layer_and_rule()
    start = layer.weight.clone()
    spikes, kept = sf.fire(layer(wave), 1.0, True)
    assert sf.get_k_winners(kept, 3, 1, spikes) == []
    assert sf.get_k_winners(kept, 0) == []
    assert sf.pointwise_inhibition(kept).sum() == 0
    stdp(wave, kept, spikes, kwta=3)
    assert torch.equal(layer.weight, start.clamp(0, 1))
    assert stdp.get_pre_post_ordering(wave, spikes, []) == []
    assert utils.Intensity2Latency(STEPS)(torch.zeros(1, 2, 4, 4)).sum() == 0


def test_fewer_intensities_than_bins_and_negative_ones():
    wave = utils.Intensity2Latency(5, to_spike=True)(torch.tensor([[[[0.0, 3.0, -7.0, 2.0]]]]))
    assert (5 - wave.sum(0)).flatten().tolist() == [5, 0, 5, 1]


def test_leading_axes_of_intensities():
    code = utils.Intensity2Latency(4)
    image = torch.rand(3, 5, 6)
    assert code(image).shape == (4, 3, 5, 6)
    assert torch.equal(code(image), code(image[None]))
    assert code(image[:1]).shape == (4, 5, 6)
    assert code(image[None, :1]).shape == (4, 1, 5, 6)
    assert code((image * 255).byte()).dtype == torch.float32


def test_arguments_stay_as_they_are():
    x = torch.rand(1, 2, 5, 5)
    before = x.clone()
    utils.LateralIntencityInhibition([0.1, 0.05])(x)
    utils.Intensity2Latency(3)(x)
    sf.local_normalization(x, 1)
    sf.pooling(x, 1)[:] = 7
    sf.pad(x, (0, 0, 0, 0))[:] = 7
    assert torch.equal(x, before)


def test_bytes_pool_and_pad():
    x = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
    assert sf.pooling(x, 2).tolist() == [[[5, 7], [13, 15]]]
    assert sf.pad(x, (1, 0, 0, 0)).dtype == torch.uint8


def test_negative_maxima_are_not_turned_into_spikes():
    x = torch.tensor([-1.0, -2.0, 3.0, 1.0]).view(1, 2, 1, 2)
    assert sf.pointwise_inhibition(x).flatten().tolist() == [0, 0, 3, 1]
    assert sf.pointwise_inhibition(-x.abs()).abs().sum() == 0


def test_potentials_of_zero_do_not_win_alone():
    spikes = torch.ones(3, 2, 1, 1)
    assert sf.get_k_winners(torch.zeros(3, 2, 1, 1), 2, 0, spikes) == []
    potentials = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).repeat(3, 1, 1, 1)
    assert sf.get_k_winners(potentials, 2, 0, spikes) == [(1, 0, 0), (0, 0, 0)]


# --- filters -------------------------------------------------------------------------------------------------


def test_thresholds_may_be_a_list_and_kernels_tensors():
    kernels = [utils.DoGKernel(3, 1, 2), torch.ones(5, 5), torch.ones(1, 1, 1)]
    image = torch.rand(2, 1, 9, 9) * 100
    listed = utils.Filter(kernels, padding=2, thresholds=[20, 900, 50])
    whole = utils.Filter(kernels, padding=2, thresholds=torch.tensor([20.0, 900, 50]).view(1, 3, 1, 1))
    assert torch.equal(listed(image), whole(image))
    assert listed.kernels.shape == (3, 1, 5, 5)
    assert (listed.max_window_size, listed.number_of_kernels, listed.padding) == (5, 3, 2)
    kept = listed(image)[:, 2]
    assert torch.equal(kept, torch.where(image[:, 0] < 50, 0, image[:, 0]))
    assert torch.equal(listed(image[0]), listed(image)[0])


def test_the_absolute_value_comes_after_the_threshold():
    filter = utils.Filter([-torch.ones(1, 1)], thresholds=-5, use_abs=True)
    assert filter(torch.tensor([[[[3.0, 7.0]]]])).flatten().tolist() == [3, 0]


def test_a_response_equal_to_the_threshold_stays():
    filter = utils.Filter([torch.ones(1, 1)], thresholds=5)
    assert filter(torch.tensor([[[[4.0, 5.0, 6.0]]]])).flatten().tolist() == [0, 5, 6]


def test_kernels_that_see_all_three_colours():
    image = torch.rand(1, 3, 8, 8)
    kernels = [utils.DoGKernel(3, 1, 2), utils.DoGKernel(5, 1, 2)]
    colour, grey = utils.Filter(kernels, multy_channel=True), utils.Filter(kernels)
    assert colour.kernels.shape == (2, 3, 5, 5)
    torch.testing.assert_close(colour(image), grey(image.sum(1, keepdim=True)))


def test_even_windows_only_among_themselves():
    assert utils.DoGKernel(4, 1, 2)().shape == (5, 5)
    assert utils.Filter([utils.DoGKernel(4, 1, 2), utils.DoGKernel(4, 2, 1)]).kernels.shape == (2, 1, 5, 5)
    with pytest.raises(UserError, match=r"kernels of windows \[3, 4\]: even windows cannot be centred"):
        utils.Filter([utils.DoGKernel(3, 1, 2), utils.DoGKernel(4, 1, 2)])


def test_pairs():
    assert utils.to_pair(3) == (3, 3)
    assert utils.to_pair((1, 2, 3)) == (1, 2)
    assert utils.to_pair((1,)) == (1,)
    assert utils.to_pair([4, 5]) == (4, 5)


# --- STDP ------------------------------------------------------------------------------------------------------


def test_the_last_of_two_winners_in_a_map_counts():
    wave = waves(3, 6, 6)
    layer, stdp = layer_and_rule()
    start = layer.weight.clone()
    spikes, kept = sf.fire(layer(wave), 0.5, True)
    stdp(wave, kept, spikes, [(0, 0, 0), (1, 1, 1), (0, 2, 2)])
    both = layer.weight.clone()
    layer.load_weight(start)
    stdp(wave, kept, spikes, [(1, 1, 1), (0, 2, 2)])
    assert torch.equal(layer.weight, both)


def test_rates_are_parameters_in_the_order_of_old_checkpoints():
    rates = [(0.1, -0.1), (0.2, -0.2)]
    layer, stdp = layer_and_rule(maps=2, rates=rates)
    other = snn.STDP(layer, rates)
    assert list(stdp.state_dict()) == ["ltp_0", "ltd_0", "ltp_1", "ltd_1", "conv_layer.weight"]
    stdp.update_learning_rate(1, 0.5, -0.25)
    assert [[rate.item() for rate in pair] for pair in stdp.learning_rate][1] == [0.5, -0.25]
    assert stdp.learning_rate[1][0] is stdp.ltp_1
    assert other.ltp_1.item() == pytest.approx(0.2)
    assert rates == [(0.1, -0.1), (0.2, -0.2)]
    stdp.update_all_learning_rate(1.0, -1.0)
    stdp.to("cpu").load_state_dict({key: value * 0 for key, value in stdp.state_dict().items()})
    assert stdp.learning_rate[0][0].item() == 0
    assert not any(parameter.requires_grad for parameter in stdp.parameters())
    assert copy.deepcopy(stdp).learning_rate[0][0] is not stdp.ltp_0


def test_a_checkpoint_that_says_layer_loads():
    layer, stdp = layer_and_rule(maps=2)
    net = torch.nn.Module()
    net.stdp = stdp
    state = OrderedDict(
        (key.replace("conv_layer", "layer"), value + 1) for key, value in net.state_dict().items()
    )
    assert "stdp.layer.weight" in state
    net.load_state_dict(state)
    assert torch.equal(layer.weight, state["stdp.layer.weight"])
    assert "stdp.layer.weight" in state  # the caller's dictionary is as it was
    assert snn.STDP(layer=layer, learning_rate=(0.1, -0.1)).layer is layer


@pytest.mark.parametrize("zipped", [True, False])
def test_old_checkpoint_files_load_and_code_does_not_run(zipped, tmp_path):
    layer, _ = layer_and_rule()
    torch.save(layer.state_dict(), tmp_path / "saved.net", _use_new_zipfile_serialization=zipped)
    layer.load_state_dict(utils.load_plain(tmp_path / "saved.net"))

    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"weight": Attack()}, tmp_path / "bad.net", _use_new_zipfile_serialization=zipped)
    (tmp_path / "pickle.net").write_bytes(pickle.dumps(Attack(), protocol=2))
    (tmp_path / "text.net").write_text("no checkpoint")
    for name in ("bad.net", "pickle.net", "text.net"):
        with pytest.raises(UserError, match=f"cannot read .*{name} as plain tensors"):
            utils.load_plain(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_linear_layers_learn_like_convolutions_of_one_cell():
    torch.manual_seed(1)
    linear, convolution = snn.Linear(7, 4, 0.5, 0.1), snn.Convolution(7, 4, 1)
    convolution.load_weight(linear.weight[:, :, None, None])
    wave = waves(7, 1, 1)
    flat = snn.Flatten()(wave)
    potentials = linear(flat)
    torch.testing.assert_close(potentials, convolution(wave).flatten(1))
    spikes, kept = potentials.sign(), potentials
    snn.STDP(linear, (0.1, -0.1))(flat, kept, spikes, kwta=2)
    snn.STDP(convolution, (0.1, -0.1))(wave, kept[..., None, None], spikes[..., None, None], kwta=2)
    torch.testing.assert_close(linear.weight.data, convolution.weight.data.flatten(1))


def test_weights_are_drawn_by_the_seed_and_not_clipped():
    torch.manual_seed(4)
    first = snn.Convolution(6, 30, 5)
    torch.manual_seed(4)
    assert torch.equal(first.weight, snn.Convolution(6, 30, 5).weight)
    assert first.weight.mean().item() == pytest.approx(0.8, abs=0.002)
    assert first.weight.std().item() == pytest.approx(0.02, abs=0.002)
    first.reset_weight(1.0, 0.1)
    assert first.weight.max() > 1
    attributes = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "bias",
        "dilation",
        "groups",
        "padding",
    )
    assert [getattr(first, name) for name in attributes] == [6, 30, (5, 5), 1, None, 1, 1, 0]
    pooling = snn.Pooling(2)
    assert (pooling.kernel_size, pooling.stride, pooling.padding) == ((2, 2), (2, 2), (0, 0))
    assert (pooling.dilation, pooling.return_indices, pooling.ceil_mode) == (1, False, False)


# --- the caching data set -------------------------------------------------------------------------------------


class Squares(torch.utils.data.Dataset):
    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.reads += 1
        return torch.full((2,), index * index), index


@pytest.mark.parametrize("folder", [None, "cache/deep"])
def test_samples_are_read_once(folder, tmp_path):
    data = utils.CacheDataset(Squares(), folder and tmp_path / folder)
    for _, index in itertools.product(range(2), (0, 2, 3)):
        sample, target = data[index]
        assert sample.tolist() == [index * index] * 2
        assert target == index
    assert (len(data), data.dataset.reads) == (4, 3)
    if folder:
        assert data.cache[2] == str(tmp_path / folder / "2")
        assert len(list((tmp_path / folder).iterdir())) == 6
    else:
        assert data[2][0] is data[2][0]
    data.reset_cache()
    assert folder is None or not list((tmp_path / folder).iterdir())
    assert data[3][1] == 3
    assert data.dataset.reads == 4


# --- text files, pictures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (2, 0), (2, 3, 4)])
def test_text_reads_back_bit_for_bit(shape, tmp_path):
    x = torch.randn(shape) * 1e-3
    utils.tensor_to_text(x, tmp_path / "x.txt")
    assert torch.equal(utils.text_to_tensor(tmp_path / "x.txt"), x)
    with pytest.raises(ValueError, match="type must be 'int' or 'float'"):
        utils.text_to_tensor(tmp_path / "x.txt", "double")


def test_pictures_of_tensors(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    visualization.plot_tensor_in_image(tmp_path / "w.png", torch.rand(4, 6))
    from matplotlib import image, pyplot

    pyplot.switch_backend("Agg")
    assert image.imread(tmp_path / "w.png").shape[:2] == (4, 6)
    visualization.show_tensor(torch.rand(4, 6), 0, 1)
    assert len(pyplot.gcf().axes) == 2  # the picture and its colour bar
    pyplot.close("all")


def test_strides_may_differ_by_axis():
    feature, stride = visualization.get_deep_feature(
        torch.ones(2, 3, 4), (2, 1), (3, 2), (1, 3), torch.ones(5, 2, 3, 2)
    )
    assert feature.shape == (5, 3 + 2 * 2, 4 + 1)
    assert stride == (2, 3)
    assert visualization.get_deep_receptive_field((3, 2, 1, 1), (2, 2, 2, 3)) == (4, 3)


def test_importing_needs_neither_matplotlib_nor_torchvision():
    program = (
        "import sys, firstspike.spyketorch; firstspike.spyketorch.install(); "
        "from SpykeTorch import functional, snn, utils, visualization; import SpykeTorch.snn as again; "
        "assert again is snn and not {'matplotlib', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_what_is_refused():
    wave, (layer, stdp) = waves(3, 5, 5), layer_and_rule()
    spikes, kept = sf.fire(layer(wave), 0.5, True)
    refusals = [
        (RuntimeError, "convert it first", lambda: layer(wave.byte())),
        (RuntimeError, "size", lambda: layer(wave[..., :2, :2])),
        (RuntimeError, "larger than the input", lambda: sf.pooling(wave, 6)),
        (RuntimeError, "more than half of the pooling kernel", lambda: sf.pooling(wave, 3, 1, 2)),
        (UserError, r"winner \(0, 3, 0\): .* 5 maps of 3x3", lambda: stdp(wave, kept, spikes, [(0, 3, 0)])),
        (UserError, r"winner \(5, 0, 0\)", lambda: stdp.get_pre_post_ordering(wave, spikes, [(5, 0, 0)])),
        (UserError, "winners of 1 images for 2", lambda: stdp(waves(2, 3, 5, 5), kept, spikes, [[]])),
        (UserError, "give a pair", lambda: snn.STDP(layer, [0.1, -0.1])),
        (UserError, "one for each of 5 maps", lambda: snn.STDP(layer, [(0.1, -0.1)] * 4)),
        (UserError, "learning_rate=None", lambda: snn.STDP(layer)),
        (UserError, "STDP without a layer", lambda: snn.STDP()),
        (UserError, "waves of shape", lambda: sf.get_k_winners(wave[0])),
        (UserError, "must be square with an odd side", lambda: sf.intensity_lateral_inhibition(wave, torch.ones(2, 2))),
        (UserError, "0 bins: choose 1 to 255", lambda: utils.Intensity2Latency(0)),
        (UserError, "256 time steps", lambda: sf.get_k_winners(torch.ones(256, 1, 1, 1))),
    ]  # fmt: skip
    for kind, message, call in refusals:
        with pytest.raises(kind, match=message):
            call()
