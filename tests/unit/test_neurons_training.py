"""Networks, losses and the gradient engine: learning, resuming, batches, processes, errors."""

import numpy as np
import pytest
import torch

from firstspike.errors import UserError
from firstspike.neurons import losses
from firstspike.neurons.base import Activity
from firstspike.neurons.delays import DelayConv, width_at
from firstspike.neurons.networks import NEURONS, Dense, Fast, FixedDelay
from firstspike.neurons.networks_conv import Cell, ColumnNet, FastConv, PlifNet
from firstspike.neurons.networks_delay import DelayNet
from firstspike.neurons.optimisation import Recipe, rate_at
from firstspike.neurons.training import GradientEngine

TAUS = {"tau_mem": 5e-3, "tau_syn": 5e-3}
NETWORKS = {
    **{
        name: Dense(8, 3, name, (12, 10), **TAUS)
        for name in NEURONS
        if name not in ("ParaLIF-ST", "ParaLIF-TRT")
    },
    "recurrent LIF": Dense(8, 3, "LIF-LT", (12,), recurrent=True, learn_tau=True, **TAUS),
    "recurrent GS": Dense(8, 3, "ParaLIF-GS", (12, 10), recurrent=(True, False), **TAUS),
    "relu D": Dense(8, 3, "ParaLIF-D", (12,), recurrent=True, recurrent_relu=True, delay=4, **TAUS),
    "uniform delays": Dense(8, 3, "ParaLIF-T", (12,), delay=4, delay_kind="uniform", **TAUS),
    "Fast": Fast(8, 3, 16, 2),
    "Fast twin": Fast(8, 3, 16, 2, single_spike=False, bias=0.1),
    "Fast kernels": Fast(8, 3, 16, 1, learn_kernel=30),
    "delays": DelayNet(8, 3, (12, 10), taps=5),
    "fixed delays": DelayNet(8, 3, (12,), taps=5, model="snn_delays_lr0"),
    "no delays": DelayNet(8, 3, (12,), model="snn", neuron="LIF"),
}
by_name = pytest.mark.parametrize("name", NETWORKS)


def recordings(count=60, seed=0, steps=30):
    """Three classes: which third of the channels is busy."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=count)
    rate = np.full((count, 8), 0.05)
    for c in range(3):
        rate[labels == c, 2 * c : 2 * c + 3] = 0.5
    return (random.random((count, steps, 8)) < rate[:, None]).astype(np.float32), labels


def engine_for(name, **more):
    return GradientEngine(
        NETWORKS[name].build(1), Recipe(**{"batch": 16, "epochs": 10, "lr": 1e-2, **more}), seed=3
    )


def same_state(a, b):
    (x, n), (y, m) = a.state(), b.state()
    assert n == m
    assert x.keys() == y.keys()
    assert all(np.array_equal(x[key], y[key]) for key in x)


@by_name
def test_every_network_learns(name):
    x, y = recordings()
    engine = engine_for(name)
    first = engine.fit_phase("train", x, y)
    for _ in range(14):
        last = engine.fit_phase("train", x, y)
    assert last.loss < first.loss
    assert (engine.predict(x) == y).mean() > (
        0.3 if name == "ParaLIF-SD" else 0.6
    )  # SD hardly fires but at t = 0
    assert engine.scores(x).shape == (60, 3)
    assert first.counts.sum() == 60
    assert first.counts.shape == (4, 3)
    assert first.decisions.shape == (60,)


@by_name
def test_a_resumed_run_is_the_run(name):
    x, y = recordings(24)
    whole, part = engine_for(name), engine_for(name)
    whole.fit_phase("train", x, y)
    part.fit_phase("train", x, y)
    again = engine_for(name)
    again.load_state(*part.state())
    same_state(again, part)
    assert whole.fit_phase("train", x, y).loss == again.fit_phase("train", x, y).loss
    same_state(whole, again)
    np.testing.assert_array_equal(whole.scores(x), again.scores(x))


@pytest.mark.parametrize("name", ["ParaLIF-GS", "LIF", "SPSN-SB"])
def test_scores_do_not_depend_on_the_batch(name):
    x, _ = recordings(20)
    engine = engine_for(name)
    everything = engine.scores(x)
    assert np.array_equal(everything, engine.scores(x))
    small = GradientEngine(engine.network, Recipe(batch=3), seed=3)
    np.testing.assert_allclose(everything, small.scores(x), atol=1e-5)


def test_sources_come_in_padded_batches():
    class Ragged:
        labels, lengths = np.array([0, 1, 2, 0]), np.array([5, 9, 7, 3])

        def __len__(self):
            return 4

        def batch(self, indices, steps=None):
            asked.append((len(indices), steps))
            return np.ones((len(indices), steps, 8), np.float32)

    asked = []
    engine = engine_for("LIF", batch=2)
    engine.fit_phase("train", Ragged(), order=np.array([0, 3, 1, 2]))
    assert asked == [(2, 5), (2, 9)]
    asked.clear()
    engine_for("LIF", batch=3, pad_to=12, drop_last=True).fit_phase("train", Ragged())
    assert asked == [(3, 12)]


def test_order_augmentation_and_mixing_are_arguments():
    x, y = recordings(20)
    seen = []

    def augment(samples, indices, epoch):
        seen.append((indices.tolist(), epoch))
        return samples * 2

    def mix(samples, labels, seed):
        return samples, torch.nn.functional.one_hot(labels, 3) * 0.9 + 0.1 / 3

    engine = engine_for("LIF", batch=8)
    engine.fit_phase("train", x, y, augment=augment, mix=mix)
    orders = [[k for indices, _ in seen for k in indices]]
    engine.fit_phase("train", x, y, augment=augment)
    orders.append([k for indices, epoch in seen if epoch == 1 for k in indices])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert orders[0] != orders[1]
    plain = engine.fit_phase("train", x, y, order=np.arange(20))
    assert plain.decisions.shape == (20,)


def test_regularisation_is_nothing_up_to_its_bound():
    spikes = torch.zeros(2, 10, 4)
    spikes[:, ::2] = 1
    layer = Activity(spikes.requires_grad_())
    rates = losses.summed_rates([layer, layer])
    assert rates.units == 8
    assert losses.regularisation(rates, 0.5) == 0
    assert losses.regularisation(rates, 0.0) == 0
    penalty = losses.regularisation(rates, 0.25)
    torch.testing.assert_close(penalty, torch.tensor(4.0))
    penalty.backward()
    torch.testing.assert_close(spikes.grad, torch.full_like(spikes, 2 * 2 * 2.0 / 20))
    silent = Activity(torch.zeros(2, 10, 4, requires_grad=True))
    losses.regularisation(losses.summed_rates([silent]), 0.1).backward()
    assert not silent.output.grad.any()


def test_a_bound_on_spikes_lowers_them():
    x, y = recordings()
    free, bound = engine_for("ParaLIF-SB"), engine_for("ParaLIF-SB", reg_thr=0.1)
    for engine in (free, bound):
        for _ in range(8):
            result = engine.fit_phase("train", x, y)
        engine.last = result
    assert bound.last.spikes < 0.7 * free.last.spikes
    assert sum(bound.last.rates) < 0.7 * sum(free.last.rates)
    assert free.last.operations > free.last.spikes


def test_synaptic_operations_count_events_times_fan_out():
    x, _ = recordings(4)
    network = NETWORKS["recurrent GS"].build(0)
    output = network(torch.from_numpy(x), seed=1)
    sources = (torch.from_numpy(x), *(a.output for a in output.layers))
    assert network.fan_out() == (12, 10 + 12, 3)
    per_sample = losses.synaptic_operations(sources, network.fan_out())
    by_hand = x[0].sum() * 12 + output.layers[0].output[0].sum() * 22 + output.layers[1].output[0].sum() * 3
    torch.testing.assert_close(per_sample[0], by_hand)


def test_skip_connections_stay_spikes():
    output = Fast(8, 3, 16, 3).build(0)(torch.from_numpy(recordings(4)[0]))
    for layer in output.layers:
        assert set(layer.output.unique().tolist()) <= {0.0, 1.0}


def test_fixed_delays_move_each_unit():
    delay = FixedDelay(5, 3, "uniform", torch.Generator().manual_seed(0))
    x = torch.rand(2, 7, 5)
    y = delay(x)
    assert y.shape == (2, 10, 5)
    for n, d in enumerate(delay.delay.tolist()):
        assert torch.equal(y[:, d : d + 7, n], x[..., n])
        assert y[..., n].sum() == pytest.approx(float(x[..., n].sum()))


def test_learnt_delays_are_whole_in_evaluation():
    conv = DelayConv(1, 1, torch.Generator().manual_seed(0), taps=7).eval()
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.position.fill_(1.2)  # tap 4: a delay of two steps
    x = torch.zeros(1, 6, 1)
    x[0, 1] = 1
    out = conv(x).detach().reshape(-1)
    assert out.shape == (9,)
    assert out.argmax() == 1 + 2
    assert out.max() == pytest.approx(1, abs=1e-6)
    assert conv.train()(x).detach().max() < 0.5


def test_schedules():
    halving = Recipe(schedule="halving", lr=0.8)
    assert [rate_at(halving, e) for e in (0, 24, 25, 50)] == [0.8, 0.8, 0.4, 0.2]
    cosine = Recipe(schedule="cosine", lr=0.1, epochs=10)
    assert rate_at(cosine, 0) == pytest.approx(0.1)
    assert rate_at(cosine, 10) == pytest.approx(0)
    cycle = Recipe(schedule="one-cycle", lr=1e-3, epochs=150)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1e-3, momentum=0.9)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=150)
    for epoch in range(150):
        assert rate_at(cycle, epoch) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9), epoch
        optimiser.step()
        if epoch < 149:
            reference.step()
    assert [round(width_at(e), 3) for e in (0, 37, 149)] == [12.0, 0.23, 0.23]
    assert width_at(1) == pytest.approx(12 * (0.23 / 12) ** (1 / 37))


CONVOLUTIONAL = {
    "plif LIF": (PlifNet(size=12, channels=6, cell=Cell("LIF")), (4, 2, 12, 12)),
    "plif PLIF average": (PlifNet(size=12, channels=6, pool="average", cell=Cell("PLIF")), (4, 2, 12, 12)),
    "plif ParaLIF": (
        PlifNet(
            size=12,
            channels=6,
            cell=Cell("ParaLIF-T", tau_mem=0.0, tau_syn=None, learn_tau=True, tau_init="original"),
        ),
        (4, 2, 12, 12),
    ),
    "columns LIF": (ColumnNet(size=8, channels=6, hidden=10), (8, 3, 8)),
    "columns GS recurrent": (
        ColumnNet(
            size=8, channels=6, hidden=10, cell=Cell("ParaLIF-GS", recurrent=True, learn_threshold=True)
        ),
        (8, 3, 8),
    ),
    "single spikes": (FastConv((2, 12, 9), (4, 6), Fast(1, 10, 16, 2)), (4, 2, 12, 9)),
    "single spikes, twin": (
        FastConv((2, 12, 9), (4,), Fast(1, 10, 16, single_spike=False), kernel=3, stride=3),
        (4, 2, 12, 9),
    ),
    "single spikes, kernels": (FastConv((2, 12, 9), (4,), Fast(1, 10, 16, learn_kernel=4)), (4, 2, 12, 9)),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_networks_train(name):
    description, shape = CONVOLUTIONAL[name]
    random = np.random.default_rng(0)
    x, y = random.random((10, *shape)).astype(np.float32), random.integers(10, size=10)
    squared = name.startswith("plif")
    recipe = Recipe(
        batch=5,
        lr=1e-3,
        loss="squared-error" if squared else "cross-entropy",
        loss_mode="sum" if squared else "mean",
    )
    engine = GradientEngine(description.build(0), recipe, seed=1)
    before = {key: value.copy() for key, value in engine.state()[0].items()}
    result = engine.fit_phase("train", x, y)
    assert np.isfinite(result.loss)
    moved = [
        key
        for key, value in engine.state()[0].items()
        if key in before and not np.array_equal(value, before[key])
    ]
    assert any("maps.0" in key or "blocks.0" in key for key in moved)
    assert engine.scores(x).shape == (10, 10)


def test_convolutional_single_spikes_are_single():
    description = FastConv((1, 9, 7), (3, 5), Fast(1, 10, 16, bias=0.3, skip_connections=False), gain=2.0)
    output = description.build(0)((torch.rand(6, 8, 1, 9, 7) > 0.5).float())
    assert output.potentials.shape == (6, 8, 10)
    shapes = [layer.output.shape for layer in output.layers]
    assert shapes == [(6, 8, 3, 5, 4), (6, 8, 5, 3, 2), (6, 8, 16)]
    counts = torch.cat([layer.counts().flatten() for layer in output.layers])
    assert set(counts.unique().tolist()) == {0, 1}
    assert description.left == 5 * 3 * 2


WRONG = [
    (lambda: Dense(8, 3, "Izhikevich"), "unknown neuron"),
    (lambda: Dense(8, 3, hidden=()), "at least one layer"),
    (lambda: Dense(8, 3, hidden=(4, 4), tau_mem=(0.1, 0.2)), "one a layer: 3"),
    (lambda: Dense(8, 3, "SPSN-SB", recurrent=True), "no feedback"),
    (lambda: Dense(8, 3, delay=3, delay_kind="far").build(), "normal, uniform"),
    (lambda: Fast(8, 3, 0), "at least one"),
    (lambda: Fast(8, 3, single_spike=False, learn_kernel=4), "no decay kernel"),
    (
        lambda: FastConv((8,), (4,), Fast(8, 3)),
        "samples of 8 units a step have no pixels; give convolutions=0",
    ),
    (lambda: FastConv((1, 8, 8), (4, 0), Fast(8, 3)), "at least one map"),
    (lambda: PlifNet(size=4, layers=3), "to nothing"),
    (lambda: PlifNet(pool="min"), "max, average"),
    (lambda: Cell("Izhikevich"), "unknown neuron"),
    (lambda: DelayNet(model="x"), "snn_delays"),
    (lambda: DelayNet(neuron="ParaLIF-D"), "ParaLIF-T, LIF"),
    (lambda: DelayConv(2, 2, torch.Generator(), taps=4), "odd"),
    (lambda: Recipe(optimiser="lbfgs"), "adamax"),
    (lambda: Recipe(schedule="steps"), "one-cycle"),
    (lambda: Recipe(loss_mode="median"), "cumsum"),
    (lambda: Recipe(batch=0), "1 or more"),
    (lambda: Recipe(batch_parts=0), "1 or more"),
    (lambda: Recipe(lr=0.0), "above 0"),
    (lambda: engine_for("LIF").fit_phase("decision", *recordings(4)), "choose from train"),
    (lambda: engine_for("LIF").fit_phase("train", recordings(4)[0]), "4 samples need"),
    (lambda: engine_for("LIF").load_state({"network/x": np.zeros(2)}, {"epoch": 1}), "another network"),
    (lambda: engine_for("LIF").load_state({"x": np.zeros(2)}, {"epoch": 1}), "allowed are"),
    (lambda: losses.reduce_time(torch.zeros(1, 2, 3), "median"), "cumsum"),
    (
        lambda: engine_for("Non-Spiking").fit_phase("train", recordings(4)[0] * np.nan, recordings(4)[1]),
        "loss of epoch 0 is",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_errors_say_what_is_allowed(call, message):
    with pytest.raises(UserError, match=message):
        call()
