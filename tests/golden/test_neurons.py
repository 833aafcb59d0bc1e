"""Neurons against outputs and gradients recorded from the original programs, to the tolerances of the recording."""

from pathlib import Path

import numpy as np
import pytest
import torch

from firstspike.neurons import LIF, MODES, SPSN, ParaLIF, SingleSpike, TwinLIF
from firstspike.neurons.delays import delay_kernels
from firstspike.neurons.losses import cross_entropy, reduce_time, regularisation, summed_rates
from firstspike.neurons.networks import Dense, Fast

GOLDEN = np.load(Path(__file__).parent / "neurons.npz", allow_pickle=False)
CASES = sorted({name.split("/")[0] for name in GOLDEN.files if "/" in name})
DTYPES = {"float64": torch.float64, "float32": torch.float32}
METHODS = ("compiled", "scan")


def case(name):
    return {key.split("/", 1)[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(name + "/")}


def of(kind):
    return [name for name in CASES if name.startswith(kind)]


def tensor(array, dtype):
    return torch.tensor(np.asarray(array, np.float64), dtype=dtype)


def close(got, want, limit):
    got, want = np.asarray(got.detach().double()), np.asarray(want, np.float64)
    assert got.shape == want.shape
    error = np.abs(got - want).max(initial=0) / max(np.abs(want).max(initial=0), 1e-30)
    assert error <= limit, error


def set_constants(neuron, g):
    """Take the recorded decays, as the recordings ask; learnt ones are raw numbers."""
    with torch.no_grad():
        neuron.decays.alpha.copy_(torch.tensor(g["p__alpha"]))
        neuron.decays.beta.copy_(torch.tensor(g["p__beta"]))
        neuron.threshold.raw.copy_(torch.tensor(g["p__spk_threshold"]))


def shared_options(name, g):
    learn = "grad__beta" in g
    per_unit = g["p__alpha"].ndim == 1 or g["p__beta"].ndim == 1
    start = [1e-3] * 10 if per_unit else 1e-3
    threshold = [1.0] * 10 if g["p__spk_threshold"].ndim else 1.0
    return {
        "tau_mem": start,
        "tau_syn": None if "nosyn" in name else start,
        "threshold": threshold,
        "learn_tau": learn,
        "learn_threshold": ("grad__spk_threshold" in g) or name.startswith(("para_learn", "para_rec_learn")),
        "fire": "readout" not in name,
        "recurrent": "rec" in name,
        "recurrent_fire": "relu" not in name,
    }


def lif_of(name, g):
    options = shared_options(name, g)
    if "atan" in name:
        options |= {"surrogate": "atan", "scale": 5.0 if "atan5" in name else None}
    if "refractory" in name:
        options["refractory"] = 0.004
    return LIF(10, **options)


def para_of(name, g):
    mode = next((part for part in name.split("_") if part in MODES), "T")
    options = shared_options(name, g)
    if name.startswith("para_rec_learn"):
        options |= {"surrogate": "atan", "scale": 2.0}
    return ParaLIF(10, mode, **options)


def load_feedback(neuron, g):
    if neuron.recurrent is not None:
        with torch.no_grad():
            neuron.recurrent.weight.copy_(tensor(g["Wr"], torch.float32))
            neuron.recurrent.bias.copy_(tensor(g["br"], torch.float32))


def noise_of(name, g, dtype):
    if "noise0" not in g:
        return None
    first = tensor(g["noise0"], dtype)
    if "noise1" in g:
        return first, tensor(g["noise1"], dtype)
    return first


def gradients_match(neuron, g, limit):
    names = {"decays.alpha": "_alpha", "decays.beta": "_beta", "threshold.raw": "_spk_threshold"}
    names |= {"recurrent.weight": "Wr", "recurrent.bias": "br"}
    for name, parameter in neuron.named_parameters():
        key = "grad_" + names[name]
        if key in g:
            close(parameter.grad, g[key], limit)
        else:
            assert parameter.grad is None or not parameter.grad.any(), name


@pytest.mark.filterwarnings("ignore:.*cannot fire")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", of("lif_") + of("para_"))
def test_lif_and_paralif(name, dtype, method):
    g, real, double = case(name), DTYPES[dtype], dtype == "float64"
    neuron = lif_of(name, g) if name.startswith("lif") else para_of(name, g)
    set_constants(neuron, g)
    load_feedback(neuron, g)
    neuron = neuron.to(real)
    neuron.method = method
    x = tensor(g["x"], real).requires_grad_()
    activity = neuron.activity(x, potential=True, noise=noise_of(name, g, real))
    close(activity.potential, g["mem"], 5e-6 if double else 2e-5)
    loss = (activity.output * tensor(g["R"], real)).sum()
    if "spikes" in g:
        np.testing.assert_array_equal(activity.output.detach().numpy(), g["spikes"])
        close(activity.rates(), g["rate_per_neuron"], 1e-6 if double else 1e-4)
    if "rate_per_neuron_hidden" in g and neuron.recurrent is not None and neuron.recurrent_fire:
        close(activity.hidden_rates(), g["rate_per_neuron_hidden"], 1e-6 if double else 1e-4)
    close(loss, g["loss"][0 if not double else 1], 1e-6 if double else 1e-4)
    loss.backward()
    limit = (1e-6 if name.startswith("lif") else 1e-5) if double else 1e-3
    close(x.grad, g["grad_x"], limit)
    gradients_match(neuron, g, limit)


def loss_of(output, potential, g, real):
    return ((output if "spikes" in g else potential) * tensor(g["R"], real)).sum()


def check_layer(g, linear, neuron, x, activity, real, limits):
    """Compare a linear map and its neuron with a recorded case; `limits` are of potentials, loss and gradients."""
    if "spikes" in g:
        np.testing.assert_array_equal(activity.output.detach().numpy(), g["spikes"])
    close(activity.potential, g["mem"], limits[0])
    loss = loss_of(activity.output, activity.potential, g, real)
    close(loss, g["loss"][0 if real == torch.float64 else 1], limits[1])
    loss.backward()
    close(x.grad, g["grad_x"], limits[2])
    close(linear.weight.grad, g["grad_W"], limits[2])
    close(linear.bias.grad, g["grad_b"], limits[2])


def linear_of(g, real):
    linear = torch.nn.Linear(12, 10).to(real)
    with torch.no_grad():
        linear.weight.copy_(tensor(g["W"], real))
        linear.bias.copy_(tensor(g["b"], real))
    return linear


def spsn_of(name):
    if "lif" in name:
        taus = {"tau_mem": 0.01, "tau_syn": 0.005} if "T200" in name else {"tau_mem": 0.02, "tau_syn": 0.02}
        return LIF(10, precision="double", fire="readout" not in name, **taus)
    return SPSN(
        10, "GS" if "gs" in name else "SB", tau_mem=0.0025, tau_syn=0.0015, fire="readout" not in name
    )


def limits_for(dtype):
    return (5e-6, 1e-6, 1e-6) if dtype == "float64" else (2e-5, 1e-4, 1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", of("spsn_"))
def test_spsn(name, dtype, method):
    g, real = case(name), DTYPES[dtype]
    linear, neuron = linear_of(g, real), spsn_of(name)
    neuron.method = method
    x = tensor(g["x"], real).requires_grad_()
    activity = neuron.activity(linear(x), potential=True, noise=noise_of(name, g, real))
    check_layer(g, linear, neuron, x, activity, real, limits_for(dtype))


FAST = {
    "fast_single": lambda: SingleSpike(10, beta=0.9),
    "fast_single_T200": lambda: SingleSpike(10, beta=0.95),
    "fast_single_mem": lambda: SingleSpike(10, beta=0.9, fire=False),
    "fast_lif": lambda: TwinLIF(10, beta=0.9),
    "fast_lif_single": lambda: TwinLIF(10, beta=0.9, single_spike=True),
    "fast_integrator": lambda: TwinLIF(10, beta=float(np.exp(-1 / 20)), reset=False),
}


def transposed(g):
    """FastSNN's arrays are (N, units, T); ours are (N, T, units)."""
    swap = ("x", "R", "spikes", "mem", "grad_x")
    return {key: np.moveaxis(value, 1, 2) if key in swap else value for key, value in g.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FAST)
def test_single_spike(name, dtype, method):
    g, real = transposed(case(name)), DTYPES[dtype]
    linear, neuron = linear_of(g, real), FAST[name]().to(real)
    neuron.method = method
    x = tensor(g["x"], real).requires_grad_()
    activity = neuron.activity(linear(x), potential=True)
    if name == "fast_lif_single":  # forward only: the recorded gradient follows a tie rule that is not ours
        np.testing.assert_array_equal(activity.output.detach().numpy(), g["spikes"])
        close(activity.potential, g["mem"], limits_for(dtype)[0])
    else:
        check_layer(g, linear, neuron, x, activity, real, limits_for(dtype))


def test_every_single_spike_case_is_listed():
    assert set(FAST) | {"fast_model", "fast_model_standard"} == set(of("fast_"))


@pytest.mark.parametrize("name", ["fast_single", "fast_single_T200", "fast_single_mem"])
def test_learnt_kernel(name):
    g = transposed(case(name))
    steps, beta = g["x"].shape[1], 0.95 if "T200" in name else 0.9
    neuron = SingleSpike(10, beta=beta, fire="mem" not in name, learn_kernel=steps).double()
    with torch.no_grad():
        neuron.kernel.copy_(neuron.beta.pow(torch.arange(steps)))
    linear, x = linear_of(g, torch.float64), tensor(g["x"], torch.float64).requires_grad_()
    activity = neuron.activity(linear(x), potential=True)
    check_layer(g, linear, neuron, x, activity, torch.float64, limits_for("float64"))
    close(neuron.kernel.grad, g["grad_betas_kernel"].reshape(-1)[::-1], 1e-6)


@pytest.mark.parametrize("row", range(len(GOLDEN["bio/config"])))
def test_biological_features(row):
    _, _, tau_mem, threshold, model = str(GOLDEN["bio/config"][row]).split(",")
    options = {"tau_mem": float(tau_mem), "tau_syn": None, "threshold": float(threshold)}
    neuron = LIF(1, **options) if model == "LIF" else ParaLIF(1, model, **options)
    x = tensor(GOLDEN["bio/current"][row], torch.float32).reshape(1, -1, 1)
    activity = neuron.activity(x, potential=True)
    np.testing.assert_array_equal(activity.output.reshape(-1).numpy(), GOLDEN["bio/spikes"][row])
    close(activity.potential.reshape(-1), GOLDEN["bio/mem"][row], 2e-5)


def wrapped(x, alpha, beta):
    """The original's potential: two truncated decays multiplied at length 2T, so that the tail folds back."""
    steps = x.shape[1]
    powers = np.arange(steps)
    kernel = np.convolve(alpha**powers, (1 - beta) * beta**powers)  # 2T - 1 lags
    lag = powers[:, None] - powers[None, :]
    later = np.minimum(2 * steps + lag, 2 * steps - 2)
    matrix = np.where(lag >= 0, kernel[np.maximum(lag, 0)], np.where(lag < -1, kernel[later], 0))
    return np.einsum("ts,nsu->ntu", matrix, x)


@pytest.mark.parametrize(("name", "worst", "flips"), [("wrap_T", 1.2, 42), ("wrap_rec_T", 5.3, 133)])
def test_original_wraps_around_and_ours_does_not(name, worst, flips):
    g = case(name)
    x, decays = tensor(g["x"], torch.float64), (float(g["alpha"]), float(g["beta"]))
    neuron = ParaLIF(10, "T", tau_mem=0.02, tau_syn=0.02, recurrent="rec" in name)
    set_constants(neuron, g)
    load_feedback(neuron, g)
    activity = neuron.double().activity(x, potential=True)
    error = np.abs(activity.potential.detach().numpy() - g["mem"]).max()
    assert 0.95 * worst < error < 1.1 * worst
    assert (activity.output.detach().numpy() != g["spikes"]).sum() == flips
    first = wrapped(x.numpy(), *decays)
    if neuron.recurrent is not None:
        hidden = np.pad(first, ((0, 0), (1, 0), (0, 0)))[:, :-1] > float(g["threshold"])
        fed = hidden @ g["Wr"].astype(np.float64).T + g["br"].astype(np.float64)
        first = first + wrapped(x.numpy() + fed, *decays)
    close(torch.tensor(first), g["mem"], 1e-6)


NETS = {"net_lif": ("LIF", False), "net_D": ("ParaLIF-D", False), "net_SB": ("ParaLIF-SB", False)}
NETS |= {"net_rec_T": ("ParaLIF-T", True), "net_rec_GS": ("ParaLIF-GS", True)}
LOSS_MODES = ("mean", "last", "max", "cumsum")


def place_of(name, network):
    """The recorded name of a parameter: Sequential of (linear, neuron) pairs."""
    kind, index, *rest = name.split(".")
    if kind == "maps":
        return f"{2 * int(index)}.{rest[0]}"
    if rest[0] == "threshold":
        return f"{2 * int(index) + 1}._spk_threshold"
    return f"{2 * int(index) + 1}.fc_recu.{rest[1]}"


def recorded_net(name, g, real):
    neuron, recurrent = NETS[name]
    network = Dense(12, 5, neuron, (10, 10), 0.0025, 0.0015, recurrent=recurrent).build().to(real)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.copy_(tensor(g["p_" + place_of(key, network)], real))
        for layer in (*network.neurons, network.readout):
            layer.decays.alpha.copy_(torch.tensor(g["alpha"]))
            layer.decays.beta.copy_(torch.tensor(g["beta"]))
    return network


def net_noise(name, g, real):
    if "noise0" not in g:
        return None
    draws = [tensor(g[key], real) for key in sorted(g) if key.startswith("noise")]
    return list(zip(draws[0::2], draws[1::2], strict=True)) if NETS[name][1] else draws


@pytest.mark.parametrize("mode", LOSS_MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETS)
def test_networks(name, dtype, mode):
    g, real, double = case(name), DTYPES[dtype], dtype == "float64"
    network = recorded_net(name, g, real)
    output = network(tensor(g["x"], real), noise=net_noise(name, g, real))
    close(output.potentials, g["output64" if double else "output"], 5e-6 if double else 2e-5)
    ce = cross_entropy(reduce_time(output.potentials, mode), torch.tensor(g["y"])).mean()
    penalty = regularisation(summed_rates(output.layers), float(g["reg_thr"][0]), float(g["reg_thr"][1]))
    limit = 1e-6 if double else 1e-4
    close(ce, g[f"{mode}_ce_reg"][0 if double else 1][0], limit)
    close(penalty, g[f"{mode}_ce_reg"][0 if double else 1][1], limit)
    close(torch.stack([a.rates().sum() for a in output.layers]), g["rate_sum_per_layer"], limit)
    hidden = [a.hidden_rates().sum() for a in output.layers if name != "net_lif"]
    close(torch.stack(hidden) if hidden else torch.zeros(0), g["rate_sum_hidden_per_layer"], limit)
    (ce + penalty).backward()
    for key, parameter in network.named_parameters():
        place = place_of(key, network)
        if f"{mode}_grad_{place}" not in g:
            assert parameter.grad is None
            continue
        close(parameter.grad, g[f"{mode}_grad_{place}"], 5e-4 if double else 1e-3)
        if double and mode == "mean":
            close(parameter.grad, g[f"mean_grad64_{place}"], 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "single"), [("fast_model", True), ("fast_model_standard", False)])
def test_fast_networks(name, single, dtype):
    g, real, double = case(name), DTYPES[dtype], dtype == "float64"
    network = Fast(12, 5, 10, 2, single_spike=single).build().to(real)
    with torch.no_grad():
        for k, linear in enumerate(network.maps):
            linear.weight.copy_(tensor(g[f"W{k}"], real))
            linear.bias.copy_(tensor(g[f"b{k}"], real))
    x = tensor(np.moveaxis(g["x"], 1, 2), real).requires_grad_()
    output = network(x)
    for k in (0, 1):
        np.testing.assert_array_equal(
            output.layers[k].output.detach().numpy(), np.moveaxis(g[f"spikes{k}"], 1, 2)
        )
    close(output.potentials, np.moveaxis(g["mem2"], 1, 2), 5e-6 if double else 2e-5)
    scores = reduce_time(output.potentials, "max")
    close(scores, g["logits"], 5e-6 if double else 2e-5)
    loss = cross_entropy(scores, torch.tensor(g["y"])).mean()
    close(loss, g["loss"][0 if double else 1], 1e-6 if double else 1e-4)
    loss.backward()
    limit = 1e-6 if double else 1e-3
    close(x.grad, np.moveaxis(g["grad_x"], 1, 2), limit)
    for k, linear in enumerate(network.maps):
        close(linear.weight.grad, g[f"grad_W{k}"], limit)
        close(linear.bias.grad, g[f"grad_b{k}"], limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "version"), [("gauss", "gauss"), ("gauss_small", "gauss"), ("max", "max")])
def test_delay_kernels(name, version, dtype):
    g, real, double = case("dcls_" + name), DTYPES[dtype], dtype == "float64"
    weight = tensor(g["W"][..., 0], real).requires_grad_()
    position = tensor(g["P"][0, ..., 0], real).requires_grad_()
    kernels = delay_kernels(weight, position, float(g["SIG"]), 25, version)
    close(kernels, g["K"], 5e-6 if double else 2e-5)
    (kernels * tensor(g["R"], real)).sum().backward()
    close(weight.grad, g["grad_W"][..., 0], 1e-6 if double else 1e-5)
    close(position.grad, g["grad_P"][0, ..., 0], 1e-6 if double else 1e-5)


def test_learnt_kernels_of_a_network():
    g = case("fast_model")
    network = Fast(12, 5, 10, 2, learn_kernel=60).build().double()
    with torch.no_grad():
        for k, linear in enumerate(network.maps):
            linear.weight.copy_(tensor(g[f"W{k}"], torch.float64))
            linear.bias.copy_(tensor(g[f"b{k}"], torch.float64))
        for layer in (*network.neurons, network.readout):
            layer.kernel.copy_(layer.beta.pow(torch.arange(60)))
    output = network(tensor(np.moveaxis(g["x"], 1, 2), torch.float64))
    cross_entropy(reduce_time(output.potentials, "max"), torch.tensor(g["y"])).mean().backward()
    for k, layer in enumerate((*network.neurons, network.readout)):
        close(layer.kernel.grad, g[f"grad_betas_kernel{k}"].reshape(-1)[::-1], 1e-6)


def test_every_recorded_case_is_looked_at():
    """Here, or in the tests of the data sets: binning, codings and affine copies."""
    elsewhere = ("affine", "binning", "latency", "yinyang")
    here = ("lif_", "para_", "spsn_", "fast_", "net_", "dcls_", "bio", "wrap_")
    assert all(name.startswith((*here, *elsewhere)) for name in CASES)
    assert len(CASES) == 92
