"""Every recorded array of the drop-in modules, replayed: tests/golden/functional.npz."""

from pathlib import Path

import numpy as np
import pytest
import torch

from firstspike.coding import latency_to_wave
from firstspike.spyketorch import functional as sf
from firstspike.spyketorch import snn, utils, visualization

with np.load(Path(__file__).parent / "functional.npz", allow_pickle=False) as arrays:
    GOLDEN = dict(arrays)


def cases(stem):
    """Names of the recorded cases of a function, such as pooling__0."""
    return sorted({key.rpartition("__")[0] for key in GOLDEN if key.startswith(f"{stem}__")} - {stem})


def tensor(key):
    return torch.from_numpy(GOLDEN[key])


def floats(key):
    return tensor(key).float()


def wave(key, steps):
    """The float wave of a recorded latency map, in which `steps` means silent."""
    return latency_to_wave(tensor(key), steps=int(steps)).float()


def assert_same(ours, key):
    assert torch.equal(ours, floats(key)), key


def assert_near(ours, key, **tolerance):
    torch.testing.assert_close(ours, tensor(key), **{"rtol": 1e-6, "atol": 1e-6} | tolerance)


@pytest.mark.parametrize("case", cases("pad"))
def test_pad(case):
    value = GOLDEN[f"{case}__value"].item()
    assert_same(sf.pad(tensor(f"{case}__input"), GOLDEN[f"{case}__pad"].tolist(), value), f"{case}__output")


@pytest.mark.parametrize("case", cases("pooling"))
def test_pooling(case):
    kh, kw, sh, sw, ph, pw = GOLDEN[f"{case}__kernel_stride_padding"].tolist()
    stride = None if sh == -1 else (sh, sw)
    x = tensor(f"{case}__input")
    assert_same(sf.pooling(x, (kh, kw), stride, (ph, pw)), f"{case}__output")
    assert_same(snn.Pooling((kh, kw), stride, (ph, pw))(x), f"{case}__output")


@pytest.mark.parametrize("case", cases("fire"))
def test_fire_and_threshold(case):
    limit = GOLDEN[f"{case}__threshold"].item()
    limit = None if np.isnan(limit) else limit
    potentials, kept = tensor(f"{case}__potentials"), f"{case}__thresholded"
    spikes, thresholded = sf.fire(potentials, limit, return_thresholded_potentials=True)
    assert_same(spikes, f"{case}__spikes")
    assert_same(thresholded, kept)
    assert_same(sf.fire(potentials, limit), f"{case}__spikes")
    assert_same(sf.threshold(potentials, limit), kept)
    for function, key in ((sf.fire_, f"{case}__spikes"), (sf.threshold_, kept)):
        x = potentials.clone()
        assert function(x, limit) is None
        assert_same(x, key)


@pytest.mark.parametrize("case", cases("convolution"))
def test_convolution(case):
    weight = floats(f"{case}__w16")
    layer = snn.Convolution(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]))
    layer.load_weight(weight)
    assert_same(layer(wave(f"{case}__latency", GOLDEN[f"{case}__steps"])), f"{case}__potentials")


@pytest.mark.parametrize("case", cases("pointwise_inhibition"))
def test_pointwise_inhibition(case):
    assert_same(sf.pointwise_inhibition(tensor(f"{case}__input")), f"{case}__output")


@pytest.mark.parametrize("case", cases("feature_inhibition"))
def test_feature_inhibition(case):
    x, features = tensor(f"{case}__input"), GOLDEN[f"{case}__features"]
    for listed in (features.tolist(), torch.from_numpy(features), torch.from_numpy(features)[:, None]):
        assert_same(sf.feature_inhibition(x, listed), f"{case}__output")
    changed = x.clone()
    assert sf.feature_inhibition_(changed, features.tolist()) is None
    assert_same(changed, f"{case}__output")


@pytest.mark.parametrize("case", cases("winners"))
def test_winners(case):
    kwta, radius = GOLDEN[f"{case}__kwta_radius"].tolist()
    potentials, spikes = tensor(f"{case}__potentials"), floats(f"{case}__spikes")
    expected = [tuple(winner) for winner in GOLDEN[f"{case}__winners"].tolist()]
    assert sf.get_k_winners(potentials, kwta, radius, spikes) == expected
    if torch.equal(potentials.sign(), spikes):
        assert sf.get_k_winners(potentials, kwta, radius) == expected


@pytest.mark.parametrize("case", cases("inhibition_kernel"))
def test_lateral_inhibition(case):
    percents = GOLDEN[f"{case}__percents"].tolist()
    assert_same(utils.generate_inhibition_kernel(percents), f"{case}__kernel")
    inhibit = utils.LateralIntencityInhibition(percents)
    kernel = tensor(f"{case}__kernel")
    for j in range(2):
        stem = f"lateral_inhibition__{case.removeprefix('inhibition_kernel__')}_{j}"
        x = tensor(f"{stem}__input")
        for result in (inhibit(x), inhibit.intensity_lateral_inhibition(x)):
            assert_near(result, f"{stem}__output", atol=0)
        for form in (kernel, kernel[None, None]):
            assert_near(sf.intensity_lateral_inhibition(x, form), f"{stem}__output", atol=0)


@pytest.mark.parametrize("case", cases("local_normalization"))
def test_local_normalization(case):
    ours = sf.local_normalization(tensor(f"{case}__input"), GOLDEN[f"{case}__radius"].item())
    assert_near(ours, f"{case}__output", rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", cases("intensity2latency") + cases("intensity2latency_ties"))
def test_intensity_to_latency(case):
    x, bins = tensor(f"{case}__input"), GOLDEN[f"{case}__bins"].item()
    assert_same(utils.Intensity2Latency(bins)(x), f"{case}__output")
    assert_same(utils.Intensity2Latency(bins).intensity_to_latency(x), f"{case}__output")
    assert torch.equal(utils.Intensity2Latency(bins, to_spike=True)(x), tensor(f"{case}__output").sign())


@pytest.mark.parametrize("case", cases("dog") + cases("gabor"))
def test_kernels(case):
    window, *params = GOLDEN[f"{case}__params"].tolist()
    kind = utils.DoGKernel if case.startswith("dog") else utils.GaborKernel
    assert_near(kind(int(window), *params)(), f"{case}__kernel")


def dogs(*params):
    return [utils.DoGKernel(*p) for p in params]


SCALES = [(3, 3 / 9, 6 / 9), (7, 7 / 9, 14 / 9), (13, 13 / 9, 26 / 9)]
BANKS = {
    0: utils.Filter(dogs((7, 1, 2), (7, 2, 1)), padding=3, thresholds=50),
    1: utils.Filter(
        dogs(*(p for n, a, b in SCALES for p in ((n, a, b), (n, b, a)))), padding=6, thresholds=50
    ),
    2: utils.Filter([utils.GaborKernel(5, 22.5 + 45 * k) for k in range(1, 5)], use_abs=True),
    3: utils.Filter(
        [utils.DoGKernel(3, 1, 2), utils.GaborKernel(5, 30), utils.DoGKernel(7, 2, 1)],
        padding=3,
        thresholds=[20, 0, 60],
        use_abs=True,
    ),
}


@pytest.mark.parametrize("i", BANKS)
def test_filters(i):
    bank = BANKS[i]
    assert_near(bank.kernels, f"filter__{i}__kernels")
    tolerance = 5e-3 if i == 1 else 1e-3
    assert_near(bank(tensor("filter__image")), f"filter__{i}__output", rtol=0, atol=tolerance)


def test_the_s1_chain():
    normalised = sf.local_normalization(BANKS[0](tensor("filter__image")), 8)
    assert_near(normalised, "s1_chain__normalized", rtol=1e-5)
    spikes = utils.Intensity2Latency(15, to_spike=True)(normalised)
    assert torch.equal(15 - spikes.sum(0), floats("s1_chain__latency"))


@pytest.mark.parametrize("case", [case for case in cases("stdp") if case != "stdp__state_dict_keys"])
def test_stdp(case):
    weight, (kwta, radius) = floats(f"{case}__w16"), GOLDEN[f"{case}__kwta_radius"].tolist()
    layer = snn.Convolution(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]))
    layer.load_weight(weight)
    stabilise, lower, upper = GOLDEN[f"{case}__stabilizer_lower_upper"].tolist()
    rates = [tuple(pair) for pair in GOLDEN[f"{case}__rates"].tolist()]
    stdp = snn.STDP(layer, rates, bool(stabilise), lower, upper)
    seen, potentials = wave(f"{case}__latency", GOLDEN[f"{case}__steps"]), tensor(f"{case}__potentials")
    winners = [tuple(winner) for winner in GOLDEN[f"{case}__winners"].tolist()]
    for pairing, recorded in zip(
        stdp.get_pre_post_ordering(seen, potentials.sign(), winners), GOLDEN[f"{case}__pairings"], strict=True
    ):
        assert np.array_equal(pairing.numpy(), recorded.astype(bool))
    by_hand = case == "stdp__samemap" or not winners
    given = winners if by_hand else None
    stdp(seen, potentials, potentials.sign(), winners=given, kwta=kwta, inhibition_radius=radius)
    assert_same(layer.weight, f"{case}__weights_after")


def test_state_dict_keys():
    layer = snn.Convolution(2, 6, 3)
    assert list(snn.STDP(layer, (0.1, -0.1)).state_dict()) == GOLDEN["stdp__state_dict_keys"].tolist()


def test_a_course_of_training():
    """Threshold, inhibition, winners, rates doubled every ten presentations."""
    layer = snn.Convolution(3, 8, 4)
    layer.load_weight(floats("train__w16"))
    stdp = snn.STDP(layer, (0.004, -0.003))
    for i, latency in enumerate(tensor("train__latencies")):
        seen = latency_to_wave(latency, steps=15).float()
        potentials = sf.threshold(layer(seen), 18)
        potentials = sf.pointwise_inhibition(potentials)
        if i > 0 and i % 10 == 0:
            ltp = torch.min(stdp.learning_rate[0][0] * 2, torch.tensor([0.15]))
            stdp.update_all_learning_rate(ltp.item(), (ltp * -0.75).item())
        winners = sf.get_k_winners(potentials, 3, 2, potentials.sign())
        recorded = [tuple(winner) for winner in GOLDEN["train__winners"][i].tolist() if winner[0] >= 0]
        assert winners == recorded
        stdp(seen, potentials, potentials.sign(), winners)
        assert [rate.item() for rate in stdp.learning_rate[0]] == GOLDEN["train__rates"][i].tolist()
    assert_near(layer.weight.data, "train__weights_after")


def test_deep_features():
    layers = [tuple(row) for row in GOLDEN["deep_receptive_field__layers"].tolist()]
    size = visualization.get_deep_receptive_field(*layers)
    assert list(size) == GOLDEN["deep_receptive_field__result"].tolist()
    feature, stride = torch.ones(1, 1, 1), (1, 1)
    weights = (tensor("filter__2__kernels"), None, floats("deep_feature__w16"))
    windows = ((5, 5), (3, 3), (4, 4))
    for level, (window, step, w) in enumerate(zip(windows, ((1, 1), (2, 2), (1, 1)), weights, strict=True)):
        feature, stride = visualization.get_deep_feature(feature, stride, window, step, w)
        assert_near(feature, f"deep_feature__level{level}")
        assert list(stride) == GOLDEN["deep_feature__strides"][level].tolist()


@pytest.mark.parametrize("kind", ["float", "int"])
def test_text(kind, tmp_path):
    utils.tensor_to_text(tensor(f"text__{kind}_tensor"), tmp_path / "tensor.txt")
    assert (tmp_path / "tensor.txt").read_text().split("\n") == GOLDEN[f"text__{kind}_lines"].tolist()
    assert torch.equal(utils.text_to_tensor(tmp_path / "tensor.txt", kind), tensor(f"text__{kind}_tensor"))


def test_the_gabor_chain():
    """Outside the mask of cells whose value hangs on rounding, cell by cell."""
    bank = utils.Filter([utils.GaborKernel(3, 22.5 + 45 * k) for k in range(1, 5)], use_abs=True)
    code = utils.Intensity2Latency(15, to_spike=True)
    ambiguous = np.unpackbits(GOLDEN["eth__ambiguous_packed"], axis=1)[:, : 4 * 62 * 62].reshape(
        -1, 4, 62, 62
    )
    for i, gray in enumerate(tensor("eth__gray")):
        spikes = code(sf.pointwise_inhibition(bank((gray.float() / 255)[None, None])))
        latency = (15 - spikes.sum(0)).numpy()
        assert np.array_equal(latency[ambiguous[i] == 0], GOLDEN["eth__latency"][i][ambiguous[i] == 0])


def test_every_recorded_stem_is_replayed():
    stems = {key.partition("__")[0] for key in GOLDEN}
    replayed = {
        *("pad", "pooling", "fire", "convolution", "pointwise_inhibition", "feature_inhibition", "winners"),
        *("inhibition_kernel", "lateral_inhibition", "local_normalization", "intensity2latency"),
        *("intensity2latency_ties", "dog", "gabor", "filter", "s1_chain", "stdp", "train"),
        *("deep_receptive_field", "deep_feature", "text", "eth"),
    }
    assert stems - {"readme"} == replayed
