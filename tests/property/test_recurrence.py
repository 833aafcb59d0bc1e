"""Laws of the recurrences: compiled equals scan, causality, silence, shifts, threads, nothing mutated."""

import hashlib
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from firstspike.kernels import recurrence as kernels
from firstspike.kernels import recurrence_rows
from firstspike.kernels.lanes import UNITS, steps
from firstspike.kernels.recurrence_draws import uniforms
from firstspike.kernels.recurrence_feedback import GROUP
from firstspike.kernels.recurrence_spikes import MODE, Spike, mode_of, normalise
from firstspike.kernels.spools import PAST_CACHES
from firstspike.neurons import (
    LIF,
    MODES,
    PLIF,
    SPSN,
    Integrator,
    NonSpiking,
    ParaLIF,
    SingleSpike,
    TwinLIF,
    draws,
)

LONG = 64  # steps
TAUS = {"tau_mem": 0.004, "tau_syn": 0.002}


def paralif(mode, units, **more):
    threshold = 0.3 if mode in ("ST", "SD", "TT", "TRT") else 0.1
    return ParaLIF(
        units, mode, threshold=threshold, generator=torch.Generator().manual_seed(3), **TAUS, **more
    )


MAKERS = {
    **{f"ParaLIF-{m}": (lambda u, m=m: paralif(m, u, learn_tau=True, learn_threshold=True)) for m in MODES},
    **{
        f"ParaLIF-{m} recurrent": (lambda u, m=m: paralif(m, u, recurrent=True))
        for m in ("D", "SD", "ST", "SB", "GS")
    },
    "ParaLIF relu": lambda u: paralif("T", u, recurrent=True, recurrent_fire=False),
    "LIF": lambda u: LIF(u, threshold=0.3, learn_tau=True, learn_threshold=True, **TAUS),
    "LIF atan refractory": lambda u: LIF(
        u, threshold=0.3, refractory=0.0035, surrogate="atan", learn_tau=True, **TAUS
    ),
    "LIF recurrent": lambda u: LIF(u, threshold=0.3, recurrent=True, learn_tau=True, **TAUS),
    "LIF relu": lambda u: LIF(
        u, threshold=0.3, recurrent=True, recurrent_fire=False, refractory=0.003, **TAUS
    ),
    "LIF relu readout": lambda u: LIF(u, recurrent=True, recurrent_fire=False, fire=False, **TAUS),
    "LIF readout": lambda u: LIF(u, fire=False, learn_tau=True, **TAUS),
    "PLIF hard": lambda u: PLIF(u, learn_tau=True, threshold=0.3),
    "PLIF soft": lambda u: PLIF(u, reset="soft", threshold=0.3),
    "PLIF detached": lambda u: PLIF(u, tau=1.005, detach_reset=True, decay_input=False, scale=5.0),
    "SPSN-SB": lambda u: SPSN(u, "SB", **TAUS),
    "SPSN-GS": lambda u: SPSN(u, "GS", **TAUS),
    "SingleSpike": lambda u: SingleSpike(u),
    "SingleSpike readout": lambda u: SingleSpike(u, fire=False),
    "TwinLIF": lambda u: TwinLIF(u),
    "TwinLIF no reset": lambda u: TwinLIF(u, reset=False),
    "TwinLIF single": lambda u: TwinLIF(u, single_spike=True),
    "Integrator": lambda u: Integrator(u, learn_tau=True, **TAUS),
    "NonSpiking": lambda u: NonSpiking(u),
}
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 2 * LONG + 7), st.sampled_from([1, 2, 5, 17]))
by_name = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make(name, units, dtype=torch.float64):
    torch.manual_seed(units)
    return MAKERS[name](units).to(dtype)


def current(size, seed=0, dtype=torch.float64):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def pass_through(neuron, x, r, q=None, seed=5):
    """Return output, potential and all gradients of sum(r output) + sum(q potential)."""
    x = x.detach().clone().requires_grad_()
    neuron.zero_grad()
    activity = neuron.activity(x, potential=q is not None, seed=seed)
    loss = (activity.output * r).sum()
    if q is not None:
        loss = loss + (activity.potential * q).sum()
    loss.backward()
    grads = [x.grad] + [p.grad for p in neuron.parameters() if p.grad is not None]
    return [activity.output.detach(), *([] if q is None else [activity.potential.detach()]), *grads]


@by_name
@settings(max_examples=4, deadline=None)
@given(size=SIZES, seed=st.integers(0, 99), both=st.booleans())
def test_compiled_equals_scan(name, size, seed, both):
    neuron, x, r = make(name, size[2]), 2 * current(size, seed), current(size, seed + 1)
    q = current(size, seed + 2) if both else None
    neuron.method = "compiled"
    fast = pass_through(neuron, x, r, q)
    neuron.method = "scan"
    slow = pass_through(neuron, x, r, q)
    assert len(fast) == len(slow)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("more", [9, 40])
@pytest.mark.parametrize(
    "name", ["LIF", "LIF recurrent", "ParaLIF-D", "ParaLIF-GS recurrent", "SPSN-SB", "SingleSpike"]
)
def test_wide_layers_cross_blocks_of_units(name, more):
    size = (2, LONG + 3, UNITS + more)
    neuron, x, r = make(name, size[2]), 2 * current(size), current(size, 1)
    if getattr(neuron, "recurrent", None) is not None:
        torch.nn.init.normal_(neuron.recurrent.weight, std=0.02)
    fast = pass_through(neuron, x, r)
    neuron.method = "scan"
    for a, b in zip(fast, pass_through(neuron, x, r), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", MAKERS)
def test_threads_do_not_change_a_bit(name):
    size = (5, LONG + 9, 2 * UNITS + 3)
    neuron, x = make(name, size[2], torch.float32), 2 * current(size, 0, torch.float32)
    r = current(size, 1, torch.float32)
    for samples in (5, 1):
        assert len(set(digests(neuron, x[:samples], r[:samples], (1, 2, 8)))) == 1


@pytest.mark.parametrize("name", ["ParaLIF-D recurrent", "LIF recurrent"])
def test_threads_do_not_change_a_bit_of_long_sums(name):
    """Gradients of feedback weights are sums over all samples and steps."""
    size = (1, 5003, 12)
    neuron, x = make(name, size[2], torch.float32), 2 * current(size, 0, torch.float32)
    assert len(set(digests(neuron, x, current(size, 1, torch.float32), (1, 2, 3, 8)))) == 1


@pytest.mark.parametrize("name", ["LIF", "SPSN-GS"])
def test_threads_do_not_change_a_bit_of_what_goes_by_a_spool(name):
    """Where one sample ends and the next begins, two threads write to the same line of memory."""
    size = (1 + PAST_CACHES // (4 * 1024 * 100), 1024, 100)
    neuron, x = make(name, size[2], torch.float32), 2 * current(size, 0, torch.float32)
    assert len(set(digests(neuron, x, current(size, 1, torch.float32), (1, 2, 5)))) == 1


def digests(neuron, x, r, counts):
    """Digests of a pass on so many threads each."""
    before, results = torch.get_num_threads(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrence_rows, "WORK_OF_A_THREAD", 1)
        for threads in counts:
            torch.set_num_threads(threads)
            results.append(digest(*pass_through(neuron, x, r)))
    torch.set_num_threads(before)
    return results


@pytest.mark.parametrize("samples", [GROUP - 1, GROUP, 2 * GROUP + 4])
@pytest.mark.parametrize("name", ["LIF recurrent", "LIF relu"])
def test_feedback_of_samples_that_go_together(name, samples):
    size = (samples, 40, 19)
    neuron, x, r = make(name, size[2]), 2 * current(size), current(size, 1)
    fast = pass_through(neuron, x, r)
    assert digests(neuron, x, r, (3,)) == [digest(*fast)]
    for own in (slice(0, 1), slice(samples - 1, samples)):
        for a, b in zip(fast[:2], pass_through(neuron, x[own], r[own])[:2], strict=True):
            assert torch.equal(a[own], b)
    neuron.method = "scan"
    for a, b in zip(fast, pass_through(neuron, x, r), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("units", [100, 128, 144, 300])
@pytest.mark.parametrize("name", ["LIF", "ParaLIF-D", "SPSN-GS", "SingleSpike"])
def test_batches_that_are_written_past_the_caches_equal_small_ones(name, units):
    size = (1 + PAST_CACHES // (4 * 1024 * 128), 1024, units)
    neuron, r = make(name, units, torch.float32), current(size, 1, torch.float32)
    x = (2 * current(size, 0, torch.float32)).requires_grad_()
    seeds = torch.arange(len(x))
    whole = neuron(x, seed=seeds)
    (g,) = torch.autograd.grad(whole, x, r)
    for part in (slice(0, 1), slice(-1, None)):
        own = neuron(x[part], seed=seeds[part])
        assert torch.equal(whole[part], own)
        assert torch.equal(g[part], torch.autograd.grad(own, x, r[part])[0][part])


@by_name
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 99), cut=st.integers(1, LONG + 20))
def test_the_future_changes_nothing(name, seed, cut):
    size = (2, LONG + 21, 3)
    neuron, x = make(name, 3, torch.float32), 2 * current(size, seed, torch.float32)
    y = x.clone()
    y[:, cut:] = current(size, seed + 1, torch.float32)[:, cut:]
    a, b = (neuron.activity(z, potential=True, seed=1) for z in (x, y))
    assert torch.equal(a.output[:, :cut], b.output[:, :cut])
    assert torch.equal(a.potential[:, :cut], b.potential[:, :cut])


@by_name
def test_silence_stays_silent(name):
    neuron = make(name, 3, torch.float32)
    if getattr(neuron, "recurrent", None) is not None:
        neuron.recurrent.bias.data.zero_()
    activity = neuron.activity(torch.zeros(2, LONG + 5, 3), potential=True, seed=1)
    drawn = any(mode in name for mode in ("SB", "GS")) or "SD" in name or ("ST" in name and "SDT" not in name)
    if not drawn:
        assert not activity.output.any()
        assert not activity.potential.any()
    elif not getattr(neuron, "recurrent", None):
        assert not activity.potential.any()


@pytest.mark.parametrize(
    "name", [n for n in MAKERS if not any(m in n for m in ("SB", "GS", "TRB", "SD", "ST"))]
)
@settings(max_examples=3, deadline=None)
@given(shift=st.integers(1, LONG + 5), seed=st.integers(0, 99))
def test_a_shift_in_time_shifts_the_answer(name, shift, seed):
    neuron, x = make(name, 4, torch.float32), 2 * current((2, 30, 4), seed, torch.float32)
    if getattr(neuron, "recurrent", None) is not None:
        neuron.recurrent.bias.data.zero_()
    late = torch.nn.functional.pad(x, (0, 0, shift, 0))
    a, b = neuron.activity(x, potential=True), neuron.activity(late, potential=True)
    assert torch.equal(a.output, b.output[:, shift:])
    assert torch.equal(a.potential, b.potential[:, shift:])


@by_name
def test_batch_equals_loop_and_nothing_is_mutated(name):
    size = (4, 40, 6)
    neuron, x, seeds = make(name, 6), 2 * current(size), torch.tensor([3, 1, 4, 1])
    kept = digest(x.numpy(), *(p.detach().numpy() for p in neuron.parameters()))
    together = neuron(x, seed=seeds)
    for k in range(4):
        assert torch.equal(together[k : k + 1], neuron(x[k : k + 1], seed=seeds[k : k + 1]))
    pass_through(neuron, x, current(size, 1))
    assert digest(x.numpy(), *(p.detach().numpy() for p in neuron.parameters())) == kept


@by_name
def test_layouts_give_the_same_bits(name):
    neuron, x, r = make(name, 6), 2 * current((3, 33, 6)), current((3, 33, 6), 1)
    plain = pass_through(neuron, x, r)
    layouts = (
        x.transpose(0, 1).contiguous().transpose(0, 1),
        x.transpose(1, 2).contiguous().transpose(1, 2),
        torch.cat((x, x), 2)[:, :, :6],
    )
    for y in layouts:
        y = y.detach().requires_grad_()
        neuron.zero_grad()
        out = neuron(y, seed=5)
        out.backward(r.transpose(1, 2).contiguous().transpose(1, 2))
        assert torch.equal(out, plain[0])
        assert torch.equal(y.grad, next(g for g in plain[1:] if g.shape == x.shape))


@pytest.mark.parametrize("name", ["LIF", "ParaLIF-T", "SingleSpike", "Integrator"])
@pytest.mark.parametrize(
    "reduce", [lambda s: s.sum(), lambda s: s.mean(1).square().sum(), lambda s: s[:, -1].sum()]
)
def test_expanded_gradients(name, reduce):
    neuron, x = make(name, 6), (2 * current((3, 33, 6))).requires_grad_()
    (g,) = torch.autograd.grad(reduce(neuron(x)), x)
    s = neuron(x).detach().requires_grad_()
    reduce(s).backward()
    (h,) = torch.autograd.grad(neuron(x), x, s.grad.contiguous())
    assert torch.equal(g, h)


LINEAR = ["Integrator", "LIF readout", "SingleSpike readout"]


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("method", ["compiled", "scan"])
def test_gradients_of_linear_layers_are_the_derivatives(name, method):
    neuron, x = make(name, 3), current((2, LONG + 4, 3)).requires_grad_()
    neuron.method = method
    parameters = tuple(neuron.parameters())
    names = [n for n, _ in neuron.named_parameters()]

    def function(x, *values):
        return torch.func.functional_call(neuron, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)
    if method == "scan":
        assert torch.autograd.gradgradcheck(function, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.9, 0.8), (0.9, 0.9), (0.9, 0.9 * (1 + 1e-7)), (0.0, 0.7), (0.5, 0.0)]
)
def test_impulse_response_is_the_closed_form(alpha, beta):
    steps = 3 * LONG
    d = np.arange(steps)
    if alpha == 0:
        kappa = (1 - beta) * beta**d
    elif abs(alpha - beta) < 1e-6:
        kappa = (1 - beta) * (d + 1) * np.sqrt(alpha * beta) ** d
    else:
        kappa = (1 - beta) * (alpha ** (d + 1.0) - beta ** (d + 1.0)) / (alpha - beta)
    neuron = Integrator(1).double()
    neuron.decays.alpha.fill_(alpha)
    neuron.decays.beta.fill_(beta)
    x = torch.zeros(1, steps, 1, dtype=torch.float64)
    x[0, 0] = 1
    np.testing.assert_allclose(neuron(x).reshape(-1).numpy(), kappa, rtol=1e-9, atol=1e-15)


def test_single_spikes_equal_the_loop_at_full_size():
    generator = torch.Generator().manual_seed(0)
    weight = (torch.rand(100, 100, generator=generator) * 2 - 1) / 10
    x = (torch.ones(20, 500, 100) @ weight.T).requires_grad_()
    neuron, loop = SingleSpike(100), TwinLIF(100, reset=False)
    spikes, candidates = neuron(x), loop(x)
    first = candidates * (candidates.cumsum(1) == 1)
    assert torch.equal(spikes, first)
    assert spikes.sum(1).max() == 1
    assert (spikes.sum(1) == 0).any()
    (g,) = torch.autograd.grad(spikes.sum(), x)
    t1 = torch.where(spikes.any(1), spikes.argmax(1), 500)  # (N, U)
    later = torch.arange(500)[None, :, None] >= t1[:, None, :]
    assert not g[later].any()
    silent = (t1 == 500)[0]
    assert (g[0, :, silent].abs().sum(0) > 0).all()


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_draws_equal_their_twin_and_are_uniform(real):
    keys = draws.sample_keys(7, 4)
    dtype = torch.float32 if real == np.float32 else torch.float64
    twin = draws.uniforms(keys, 70, 300, dtype).numpy()
    np.testing.assert_array_equal(draws.fast_uniforms(keys, 70, 300, dtype).numpy(), twin)
    block = np.empty((70, 300), real)
    for b, key in enumerate(keys.numpy().view(np.uint64)):
        uniforms(key, block)
        np.testing.assert_array_equal(block, twin[b])
    counts = np.histogram(twin, bins=64, range=(0, 1))[0]
    expected = twin.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120  # chi square, 63 degrees of freedom: p < 1e-5
    for a, b in ((twin[:, 1:], twin[:, :-1]), (twin[..., 1:], twin[..., :-1]), (twin[1:], twin[:-1])):
        assert abs(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1]) < 0.015
    assert twin.min() > 0
    assert twin.max() < 1


@steps(constants="", state="", numbers=MODE, reads="v", writes="p")
def _normalise(unit):
    normalise(unit, unit.v)
    unit.p = unit.number


@njit
def normalise_row(spike, v, p):
    """Normalise a row."""
    none = v[0, :0]
    _normalise(none, none, mode_of(spike), (v, p), (0, 0), (0, 0), v.shape[1], 1, 0)


@pytest.mark.parametrize(("real", "limit"), [(np.float32, 4e-7), (np.float64, 1e-15)])
@pytest.mark.parametrize(
    ("norm", "function"), [(kernels.SIGMOID, lambda v: 1 / (1 + np.exp(-v))), (kernels.TANH, np.tanh)]
)
def test_normalisations_are_accurate(real, limit, norm, function):
    v = np.concatenate(
        (np.linspace(-30, 30, 20001), np.geomspace(1e-6, 1, 1000), [0.0, -500.0, 500.0])
    ).astype(real)[None]
    p = np.empty_like(v)
    normalise_row(Spike(norm, kernels.THRESHOLD, 1.0, 0.0, 0.0), v, p)
    with np.errstate(over="ignore"):
        want = function(v.astype(np.float64))
    np.testing.assert_allclose(p, want, rtol=limit, atol=1e-38)
