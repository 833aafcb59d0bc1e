"""Mini-batches on a device: whole networks, recorded runs, nothing copied to the host, nothing looping over images."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from firstspike import batched
from firstspike.backend import Backend, choose
from firstspike.errors import UserError
from firstspike.kernels.joint import Turn
from firstspike.layers import RSTDP, STDP, Conv, Pool
from firstspike.minibatch import Learner, Neurons, Pair, advance, learn_pair, learn_reward, learn_stdp
from firstspike.sums import potentials_in_float64, potentials_in_parts
from models import create_model, get_model
from tests.zoo import ZOO, fit_all, latencies, small

SUMS = [potentials_in_float64, potentials_in_parts]
GOLDEN = Path(__file__).parents[1] / "golden" / "digits" / "mozafari2018.npz"
CPU = torch.device("cpu")
SUMMED = [name for name in ZOO if get_model(name).fills_a_gpu(2)]  # the others' images learn in turn


def on_device(batch):
    """The layers of a device, which here is the CPU."""
    kinds = batched.DeviceThreshold, batched.DeviceDecision
    return Backend(*(partial(kind, batch=batch, device=CPU) for kind in kinds), batched.learn_together)


def with_backend(net, backend):
    """The network on another backend, in the same state."""
    state = net.state_dict()
    net.backend = backend
    net.engine = net.build()
    net.load_state_dict(state)
    return net


# --- whole networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUMMED)
def test_batches_of_one_train_a_network_as_the_compiled_layers_do(name):
    shown, labels = latencies(8), np.arange(8) % 3
    compiled, net = small(name), with_backend(small(name), batched.backend("cpu", 1))
    expected, result = (fit_all(each, shown, labels) for each in (compiled, net))
    np.testing.assert_array_equal(result.decisions, expected.decisions)
    for layer, winners in expected.winners.items():
        np.testing.assert_array_equal(result.winners[layer], winners)
    for key, array in compiled.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[key], array)


@pytest.mark.parametrize("name", SUMMED)
def test_where_answers_are_computed_changes_nothing(name):
    """On the CPU compiled kernels answer; on a device everything runs there."""
    shown, labels = latencies(12), np.arange(12) % 3
    host, device = small(name, update_batch=4), with_backend(small(name), on_device(4))
    for net in (host, device):
        fit_all(net, shown, labels)
    for key, array in host.state_dict().items():
        np.testing.assert_array_equal(device.state_dict()[key], array)
    np.testing.assert_array_equal(device.predict(shown), host.predict(shown))
    np.testing.assert_allclose(device.scores(shown), host.scores(shown), atol=0.015)
    np.testing.assert_array_equal(device.features(shown, "conv2"), host.features(shown, "conv2"))
    for phase in host.phases:
        np.testing.assert_array_equal(device.inputs(phase, shown), host.inputs(phase, shown))
    assert device.engine.convergence() == host.engine.convergence()


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def recorded(golden, backend):
    """The network of the recorded run at its start."""
    net = with_backend(create_model("mozafari2018", doubling_period=20, window=20), backend)
    for layer in net.engine.nodes:
        net.set_weights(layer, golden[f"w0_{layer}"])
    return net


def replay_stdp(net, golden, phase):
    net.set_rates(phase, **dict(zip(("ltp", "ltd"), golden[f"{phase}_rates_start"], strict=True)))
    result = net.fit_phase(phase, golden["latency"][golden[f"{phase}_image"]], record=True)
    np.testing.assert_array_equal(result.winners[phase], golden[f"{phase}_winners"])
    np.testing.assert_array_equal(result.rates[phase], golden[f"{phase}_rates"])
    np.testing.assert_array_equal(net.weights(phase), golden[f"{phase}_w_end"])


@pytest.mark.parametrize("sums", SUMS)
def test_a_recorded_phase_is_reproduced_on_a_device(sums, golden, monkeypatch):
    monkeypatch.setattr(batched, "potentials_on", lambda device: sums)
    replay_stdp(recorded(golden, on_device(1)), golden, "conv1")


def test_a_recorded_run_is_reproduced_in_batches_of_one(golden):
    net = recorded(golden, batched.backend("cpu", 1))
    for phase in ("conv1", "conv2"):
        replay_stdp(net, golden, phase)
    names = "reward_ltp", "reward_ltd", "punish_ltp", "punish_ltd"
    net.set_rates("decision", **dict(zip(names, golden["decision_rates_start"], strict=True)))
    rows = golden["decision_image"][:40]
    result = net.fit_phase("decision", golden["latency"][rows], golden["labels"][rows], record=True)
    np.testing.assert_array_equal(result.winners["decision"], golden["decision_winners"][:40])
    np.testing.assert_array_equal(result.decisions, golden["decision_class"][:40])
    np.testing.assert_array_equal(result.counts, golden["decision_counts"][:2])
    np.testing.assert_array_equal(result.rates["decision"], golden["decision_rates"][:2])


@pytest.mark.parametrize("batch", [1, 4])
def test_threads_change_no_bit(batch):
    shown, labels = latencies(4), np.arange(4) % 3
    states, before = [], torch.get_num_threads()
    for threads in (1, 2, 8):
        torch.set_num_threads(threads)
        net = with_backend(small("deepr2024"), on_device(batch))
        fit_all(net, shown, labels)
        states.append(net.state_dict())
    torch.set_num_threads(before)
    for state in states[1:]:
        for key, array in states[0].items():
            np.testing.assert_array_equal(state[key], array)


def test_a_mini_batch_ends_with_its_window():
    """Windows of 8 in mini-batches of 5: 5, 3, 5, 3, ..., so rates are never adapted inside a mini-batch."""
    shown, labels = latencies(16), np.arange(16) % 3
    whole, cut = small("mozafari2018", update_batch=5), small("mozafari2018", update_batch=5)
    for phase in ("conv1", "conv2"):
        whole.fit_phase(phase, shown)
    cut.load_state_dict(whole.state_dict())
    whole.fit_phase("decision", shown, labels)
    for rows in (slice(0, 8), slice(8, 16)):
        cut.fit_phase("decision", shown[rows], labels[rows])
    np.testing.assert_array_equal(cut.weights("decision"), whole.weights("decision"))


# --- nothing copied to the host, nothing looping over images ----------------------------------------------------------

LOWER = Conv("lower", 6, 3, 2.0, pad=1, k=3, radius=1)
HEAD = Conv("head", 6, 3, pad=1)


def passes(sums, device, *, batch, images=None):
    """One call of every learning function on random inputs; their results."""
    images = images or batch
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 5, (images, 2, 8, 8), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 3, (images,), generator=generator).to(device)
    low = torch.rand((6, 2, 3, 3), generator=generator).to(device)
    high, own = (torch.rand((6, n, 3, 3), generator=generator).to(device) for n in (6, 2))
    rates = np.array([0.004, -0.003, -0.004, 0.0005], np.float32)
    lower, head, stdp = Neurons(LOWER, sums, 4), Neurons(HEAD, sums, 4), STDP()
    parts = [batch] * (images // batch)
    turn = Turn(True, True, rates, rates, np.zeros(2, np.bool_))
    pair = Pair(Learner(lower, RSTDP()), Learner(head, RSTDP()), Pool(2), 2)
    each = advance(stdp, rates[:2].copy(), np.zeros(1, np.int64), parts)
    return (
        learn_stdp(low, shown, each, Learner(lower, stdp), batch=batch),
        learn_reward(own, shown, labels, rates, Learner(head, RSTDP()), batch=batch, group=2),
        learn_pair((low, high), shown, labels, turn, pair, batch=batch),
    )


class Watch(TorchDispatchMode):
    """Counts operations and refuses those that make the host wait for a number."""

    REFUSED = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        assert not any(refused in name for refused in self.REFUSED), f"{name} waits for the device"
        self.operations += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("sums", SUMS)
def test_learning_never_looks_at_a_number(sums):
    """Tensors on the meta device have no values: whatever copies one to the host, or branches on it, fails."""
    results = passes(sums, "meta", batch=4, images=12)
    (weight, won), (_, answered), ((low, high), (below, above)) = results
    assert {x.device.type for x in (weight, won, answered, low, high, below, above)} == {"meta"}
    assert (won.shape, answered.shape, below.shape) == ((12, 3, 3), (12, 1, 3), (12, 3, 3))
    with pytest.raises(NotImplementedError):
        won.cpu()


@pytest.mark.parametrize("sums", SUMS)
def test_a_mini_batch_takes_as_many_operations_as_one_image(sums):
    counts = []
    for batch in (2, 16, 64):
        with Watch() as watch:
            passes(sums, "cpu", batch=batch)
        counts.append(watch.operations)
    assert len(set(counts)) == 1, counts
    with Watch() as watch:
        passes(sums, "cpu", batch=16, images=48)
    assert watch.operations > 2 * counts[0]


def test_the_watch_would_notice():
    with Watch(), pytest.raises(AssertionError, match="waits for the device"):
        torch.ones(3).sum().item()


# --- choosing --------------------------------------------------------------------------------------------------------


def test_the_online_rule_on_the_cpu_is_compiled():
    assert choose("cpu", 1) == Backend()


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="update batch 0: one image or more"):
        create_model("mozafari2018", update_batch=0)
    with pytest.raises(UserError, match=r"device abacus: not available here .*: use cpu"):
        create_model("mozafari2018", device="abacus")


def test_images_that_change_weights_in_turn_stay_on_the_cpu():
    assert get_model("mozafari2018").fills_a_gpu(64)
    assert not get_model("mozafari2018").fills_a_gpu(None)
    assert not get_model("shirsavar2022").fills_a_gpu(None)
    with pytest.raises(
        UserError, match="layer conv1: the images of its mini-batches change the weights in turn"
    ):
        create_model("shirsavar2022", device="meta")
