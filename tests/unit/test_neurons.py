"""Neurons as modules: shapes, types, errors, derivatives, randomness, memory."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from firstspike.buffers import Pool
from firstspike.errors import UserError
from firstspike.neurons import LIF, MODES, PLIF, SPSN, Integrator, NonSpiking, ParaLIF, SingleSpike, TwinLIF

TAUS = {"tau_mem": 0.004, "tau_syn": 0.002}
LAYERS = {
    "LIF": lambda u: LIF(u, threshold=0.3, **TAUS),
    "ParaLIF-T": lambda u: ParaLIF(u, "T", threshold=0.1, **TAUS),
    "ParaLIF-GS": lambda u: ParaLIF(u, "GS", **TAUS),
    "SPSN": lambda u: SPSN(u, "SB", **TAUS),
    "PLIF": lambda u: PLIF(u),
    "SingleSpike": lambda u: SingleSpike(u),
    "TwinLIF": lambda u: TwinLIF(u),
    "Integrator": lambda u: Integrator(u, **TAUS),
    "NonSpiking": lambda u: NonSpiking(u),
}
by_name = pytest.mark.parametrize("name", LAYERS)


def current(*shape, dtype=torch.float32):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@by_name
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 9, 4), (2, 9, 4, 3), (2, 5, 4, 3, 2), (0, 5, 4), (2, 0, 4)])
def test_output_has_the_shape_of_the_current(name, shape):
    x = current(*shape).requires_grad_()
    layer = LAYERS[name](shape[2])
    out = layer(x)
    out.sum().backward()
    assert out.shape == x.shape == x.grad.shape


@by_name
def test_positions_of_a_channel_share_its_neuron(name):
    x, layer = current(2, 9, 4, 3, 2), LAYERS[name](4)
    if layer.random:
        pytest.skip("positions draw each their own")
    out = layer(x)
    for h in range(3):
        for w in range(2):
            assert torch.equal(out[..., h, w], layer(x[..., h, w]))


def test_one_constant_a_unit():
    taus, thresholds = [0.001, 0.002, 0.02], [0.1, 0.2, 0.3]
    x = current(2, 30, 3)
    together = LIF(3, tau_mem=taus, tau_syn=taus, threshold=thresholds)
    for k in range(3):
        alone = LIF(1, tau_mem=taus[k], tau_syn=taus[k], threshold=thresholds[k])
        assert torch.equal(together(x)[..., k : k + 1], alone(x[..., k : k + 1]))


def test_learnt_channel_constants_collect_over_positions():
    layer = ParaLIF(2, "T", tau_mem=[0.01] * 2, threshold=[0.1] * 2, learn_tau=True, learn_threshold=True)
    layer(current(2, 9, 2, 3, 3)).sum().backward()
    assert layer.decays.beta.grad.shape == layer.threshold.raw.grad.shape == (2,)
    assert layer.threshold.raw.grad.abs().min() > 0


@by_name
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_single_precision_rounded(name, dtype):
    x = current(2, 20, 4).to(dtype)
    layer = LAYERS[name](4)
    half, single = (
        layer.activity(x, potential=True, seed=1),
        layer.activity(x.float(), potential=True, seed=1),
    )
    assert torch.equal(half.output, single.output.to(dtype))
    assert torch.equal(half.potential, single.potential.to(dtype))
    y = x.clone().requires_grad_()
    layer(y, seed=1).sum().backward()
    assert y.grad.dtype == dtype


def test_autocast_and_half_modules_run():
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), LIF(5, recurrent=True, **TAUS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(current(2, 9, 4)).sum().backward()
    assert net[0].weight.grad.abs().sum() > 0
    net.half()(current(2, 9, 4).half()).sum().backward()


@by_name
def test_nothing_is_kept_from_call_to_call(name):
    x, layer = current(2, 30, 4), LAYERS[name](4)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    first = layer(x, seed=3)
    layer(current(2, 30, 4) * 3)
    assert torch.equal(layer(x, seed=3), first)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@by_name
def test_copies_and_pickles(name):
    layer = LAYERS[name](4)
    x = current(2, 30, 4)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x, seed=3), layer(x, seed=3))
    other = LAYERS[name](4)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x, seed=3), layer(x, seed=3))


def test_counts_and_rates():
    layer, x = LIF(4, threshold=0.3, **TAUS), current(3, 20, 4).requires_grad_()
    activity = layer.activity(x)
    assert activity.potential is None
    assert torch.equal(activity.counts(), activity.output.sum(1))
    torch.testing.assert_close(activity.rates(), activity.output.mean((0, 1)))
    activity.rates().sum().backward()
    assert x.grad.abs().sum() > 0
    assert not activity.hidden_rates().any()


def test_randomness_is_an_argument():
    x = current(4, 50, 6)
    layer = ParaLIF(6, "GS", recurrent=True, generator=torch.Generator().manual_seed(1))
    again = ParaLIF(6, "GS", recurrent=True, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(layer(x), layer(x))
    again(x)
    again(x)
    assert torch.equal(layer(x), again(x))
    assert torch.equal(layer(x, seed=4), layer(x, seed=4))
    assert not torch.equal(layer(x, seed=4), layer(x, seed=5))
    torch.manual_seed(0)
    kept = torch.random.get_rng_state()
    layer(x)
    assert torch.equal(torch.random.get_rng_state(), kept)
    activity = ParaLIF(6, "SB", recurrent=True).activity(torch.zeros(4, 50, 6), seed=1)
    assert not torch.equal(activity.hidden, activity.output)  # both fair coins, drawn apart


def test_stochastic_modes_fire_as_often_as_they_should():
    x = torch.full((8, 200, 16), 0.7)
    options = {"tau_mem": 0.0, "tau_syn": None}  # v = x
    v = torch.tensor(0.7)
    wanted = {"SB": torch.sigmoid(v), "TRB": torch.tanh(v), "GS": torch.sigmoid(2 * v)}
    for mode, rate in wanted.items():
        assert abs(ParaLIF(16, mode, **options)(x, seed=2).mean() - rate) < 0.01


def test_learnt_constants():
    exact = ParaLIF(1, "T", tau_mem=0.02, tau_syn=0.01, learn_tau=True)
    fixed = ParaLIF(1, "T", tau_mem=0.02, tau_syn=0.01)
    for a, b in zip(exact.decays.effective(), fixed.decays.effective(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=0)
    original = ParaLIF(1, "T", tau_mem=0.02, learn_tau=True, tau_init="original")
    assert 0.5 < original.decays.effective()[1].item() < 0.731
    dead = LIF(1, threshold=-0.1, learn_threshold=True)
    dead(current(2, 9, 1)).sum().backward()
    assert not dead.threshold.raw.grad.any()
    drawn = ParaLIF(3, "GS", learn_threshold=True)
    drawn(current(2, 9, 3).requires_grad_()).sum().backward()
    assert drawn.threshold.raw.grad is None


def test_vanishing_time_constants_are_no_filter():
    x = current(2, 9, 3)
    for tau_syn in (None, 0.0):
        assert torch.equal(Integrator(3, tau_mem=0.0, tau_syn=tau_syn)(x), x)


def test_second_and_forward_derivatives_are_refused_or_right():
    layer, x = LIF(3, **TAUS).double(), current(2, 5, 3, dtype=torch.float64).requires_grad_()
    (g,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    with pytest.raises(UserError, match="first derivatives only"):
        g.sum().backward()
    with pytest.raises(UserError, match="no forward-mode"):
        torch.func.jvp(layer, (x,), (x,))
    layer.method = "scan"
    (g,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    g.sum().backward()
    assert x.grad.abs().sum() > 0
    with pytest.raises(UserError, match="no forward-mode"):
        torch.func.jvp(layer, (x,), (x,))


@pytest.mark.parametrize("make", [LIF, partial(ParaLIF, mode="ST")])
def test_constants_learn_through_functional_calls(make):
    layer = make(3, learn_tau=True, learn_threshold=True, threshold=0.3, **TAUS).double()
    x = 3 * current(2, 9, 3, dtype=torch.float64)
    weights = torch.arange(27.0).reshape(9, 3)
    own = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}

    def loss(constants, x):
        return (torch.func.functional_call(layer, constants, (x,)) * weights).sum()

    found = torch.func.grad(loss)(own, x)
    (layer(x) * weights).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.any()
        torch.testing.assert_close(found[name], parameter.grad)


@by_name
def test_functional_transforms(name):
    layer, x = LAYERS[name](3).double(), current(2, 6, 3, dtype=torch.float64)

    def loss(x):
        return layer(x, seed=1).mul(torch.arange(36.0).reshape(2, 6, 3)).sum()

    y = x.clone().requires_grad_()
    loss(y).backward()
    assert torch.equal(torch.func.grad(loss)(x), y.grad)
    mapped = torch.func.vmap(lambda x: layer(x, seed=1))(torch.stack((x, 2 * x)))
    assert torch.equal(mapped[1], layer(2 * x, seed=1))
    jacobian = torch.func.jacrev(lambda x: layer(x, seed=1).sum((0, 1)))(x)
    torch.testing.assert_close(jacobian.sum(0), torch.func.grad(lambda x: layer(x, seed=1).sum())(x))


WRONG = [
    (lambda: LIF(3)(torch.zeros(2, 3)), r"shape \(2, 3\)"),
    (lambda: LIF(3)(torch.zeros(2, 5, 4)), "3 units takes"),
    (lambda: LIF(3)(torch.zeros(2, 5, 3, dtype=torch.long)), "float32"),
    (lambda: LIF(0), "at least one unit"),
    (lambda: LIF(3, tau_mem=[0.1, 0.2]), r"one a unit: \(3,\)"),
    (lambda: LIF(3, tau_mem=-1.0), "0 or above"),
    (lambda: SPSN(3, "SB", tau_mem=-1.0), "0 or above"),
    (lambda: LIF(3, surrogate="sine"), "fastsig, atan"),
    (lambda: LIF(3, recurrent=True, fire=False), "no spikes to feed back"),
    (lambda: LIF(3, precision="double", learn_tau=True), "precision"),
    (lambda: LIF(3, recurrent=True)(torch.zeros(2, 5, 3, 2)), "flatten"),
    (lambda: LIF(3, learn_tau=True, tau_init="guess"), "exact, original"),
    (lambda: ParaLIF(3, "X"), "GS, SB, TRB, D, SD"),
    (lambda: SPSN(3, "D"), "GS|SB"),
    (
        lambda: ParaLIF(3, "SB")(torch.zeros(2, 5, 3), noise=torch.zeros(2, 5)),
        r"uniforms of shape \(2, 5, 3\)",
    ),
    (lambda: ParaLIF(3, "GS")(torch.zeros(2, 5, 3), noise=torch.zeros(2, 5, 3)), r"\(2, 5, 3, 2\)"),
    (lambda: ParaLIF(3, "GS")(torch.zeros(2, 5, 3), seed=torch.zeros(3, dtype=torch.long)), r"\(2,\)"),
    (lambda: SingleSpike(3, beta=1.5), r"\[0, 1\]"),
    (lambda: SingleSpike(3, learn_kernel=4)(torch.zeros(1, 5, 3)), "learn_kernel=5"),
    (lambda: PLIF(3, tau=1.0), "above 1"),
    (lambda: PLIF(3, reset="no"), "hard, soft"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_errors_say_what_is_allowed(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_silent_modes_warn():
    with pytest.warns(UserWarning, match="cannot fire"):
        ParaLIF(3, "ST")
    assert set(MODES) == {"GS", "SB", "TRB", "D", "SD", "TD", "TRD", "T", "ST", "TT", "TRT"}


def test_buffers_are_used_again_and_never_shared():
    pool, shape = Pool(), (64, 64, 256)
    first = pool.empty(shape, np.float32)
    place, view = first.ctypes.data, first[3]
    assert place % 64 == 0
    del first
    second = pool.empty(shape, np.float32)
    assert second.ctypes.data != place  # a view of the first is still held
    del view
    third = pool.empty(shape, np.float32)
    assert third.ctypes.data == place
    assert pool.free_bytes() == 0
    del second, third
    assert pool.free_bytes() > 2 * 64 * 64 * 256 * 4
    pool.clear()
    assert pool.free_bytes() == 0


def test_a_layer_pages_in_no_new_memory_in_the_long_run():
    layer, x = LIF(64, **TAUS), current(32, 256, 64)
    places = set()
    for _ in range(6):
        y = x.clone().requires_grad_()
        out = layer(y)
        out.sum().backward()
        places |= {out.data_ptr(), y.grad.data_ptr()}
        del out, y
    assert len(places) <= 4
