"""The recorded runs of STDP-CSNN: filters, scaling, latencies, every training step, features."""

from pathlib import Path

import numpy as np
import pytest

from firstspike.readouts.csnn import STDPCSNN, CSNNEngine
from firstspike.readouts.preprocessing import Coding, difference_of_gaussians, fit_coding, whitening_filters

GOLDEN = np.load(Path(__file__).with_name("csnn.npz"), allow_pickle=False)
RUNS = ("grey", "colour")


def recorded(run, name):
    return GOLDEN[f"{run}/{name}"]


def config(run):
    pairs = (pair.split("=") for pair in str(recorded(run, "config")).split())
    return {name: value if name == "mode" else float(value) for name, value in pairs}


def images(run):
    """As (N, C, X, Y)."""
    return recorded(run, "images").transpose(0, 3, 1, 2)


def training(run):
    return int(config(run)["n_train"])


def coding(run):
    filters = difference_of_gaussians() if run == "grey" else recorded(run, "whiten_filters")
    return fit_coding(images(run)[: training(run)], filters, threads=1)


def spike_times(run):
    times = recorded(run, "times")
    return np.where(np.isinf(times), np.float32(1), times)


def settings(run):
    c = config(run)
    return STDPCSNN(
        filters=int(c["filters"]),
        kernel=int(c["kernel"]),
        pool=int(c["pool"]),
        threshold=c["th_init"],
        least_threshold=c["min_th"],
        threshold_rate=c["lr_th"],
        t_obj=c["t_obj"],
        ap=c["ap"],
        am=c["am"],
        beta=c["beta"],
        annealing=c["annealing"],
    )


def maps_first(weights):
    """Recorded weights (x, y, channel, filter) in our order (filter, channel, x, y)."""
    return weights.astype(np.float32).transpose(3, 2, 0, 1)


def engine(run):
    made = CSNNEngine(settings(run), coding(run))
    made.set_weights("conv1", maps_first(recorded(run, "w_init")))
    return made


@pytest.mark.parametrize("run", RUNS)
def test_filtered_images(run):
    stored = recorded(run, "filtered" if run == "grey" else "whitened_signed")
    np.testing.assert_allclose(coding(run).filtered(images(run)), stored, rtol=0, atol=2e-6)


def test_whitening_filters():
    stored = recorded("colour", "whiten_filters")
    found = whitening_filters(recorded("colour", "images")[: training("colour")], size=5, stride=2, eps=0.01)
    np.testing.assert_allclose(found, stored, rtol=0, atol=1e-5)


@pytest.mark.parametrize("run", RUNS)
def test_scaling_and_latencies(run):
    stored = recorded(run, "filtered" if run == "grey" else "whitened_signed")
    first = stored[: training(run)]
    exact = Coding(
        coding(run).filters, first.min(axis=0), np.maximum(first.max(axis=0), np.float32(1.1754944e-38))
    )
    np.testing.assert_array_equal(exact.scaled(stored), recorded(run, "scaled"))
    found = np.clip(1 - recorded(run, "scaled"), np.float32(0), np.float32(1))
    np.testing.assert_array_equal(found, np.minimum(spike_times(run), 1))
    np.testing.assert_allclose(
        coding(run).times(images(run)), np.minimum(spike_times(run), 1), rtol=0, atol=5e-6
    )


@pytest.mark.parametrize("run", RUNS)
def test_training(run):
    ours, times = engine(run), np.minimum(spike_times(run), 1)[: training(run)]
    corners = np.stack([recorded(run, "patch_x"), recorded(run, "patch_y")], axis=1).astype(np.int64)
    stored = recorded(run, "winner")
    for epoch in range(int(config(run)["epochs"])):
        steps = slice(epoch * len(times), (epoch + 1) * len(times))
        np.testing.assert_allclose(
            list(ours.rates().values()), recorded(run, "rates")[steps.start], rtol=1e-6
        )
        found = ours.fit_phase("conv1", times, corners=corners[steps], record=True)
        np.testing.assert_array_equal(found.winners, stored[steps])
        np.testing.assert_allclose(found.thresholds, recorded(run, "thresholds")[steps], rtol=0, atol=3e-6)
    np.testing.assert_allclose(ours.weights(), maps_first(recorded(run, "w_final")), rtol=0, atol=1e-6)


@pytest.mark.parametrize("run", RUNS)
def test_each_step_of_the_first_epoch(run):
    times = np.minimum(spike_times(run), 1)[: training(run)]
    corners = np.stack([recorded(run, "patch_x"), recorded(run, "patch_y")], axis=1).astype(np.int64)
    for stop in (1, 5, len(times)):
        ours = engine(run)
        ours.fit_phase("conv1", times, order=np.arange(stop), corners=corners[:stop])
        winner = recorded(run, "winner")[stop - 1]
        if winner >= 0:
            expected = recorded(run, "winner_weights")[stop - 1].transpose(2, 0, 1)
            np.testing.assert_allclose(ours.weights()[winner], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("run", RUNS)
def test_inference(run):
    ours, times = engine(run), np.minimum(spike_times(run), 1)
    ours.set_weights("conv1", maps_first(recorded(run, "w_final")))
    ours._thresholds = recorded(run, "thresholds")[-1].copy()
    np.testing.assert_array_equal(ours.infer(times, threads=1), recorded(run, "pooled"))
    shown = recorded(run, "shown_samples")
    np.testing.assert_array_equal(ours.infer(times[shown], pool=1, threads=1), recorded(run, "conv_times"))
    np.testing.assert_array_equal(ours.infer(times, threads=2), recorded(run, "pooled"))
