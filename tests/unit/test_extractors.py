"""Extractors in the zoo: the linear readout against torch's Adam, published options, pictures, activity, state."""

import numpy as np
import pytest
import torch

from firstspike.data.dataset import Dataset
from firstspike.data.samples import Samples, Selection, chosen_rows
from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.readouts import linear, softhebb
from firstspike.readouts.csnn import PUBLISHED
from firstspike.readouts.events import from_dense
from firstspike.readouts.linear import LinearReadout
from firstspike.readouts.softhebb import SoftHebb
from firstspike.readouts.sources import Place, from_softhebb
from firstspike.report.extractor_run import ExtractorRun
from models import create_model, get_model

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 1, 16, 16)).astype(np.uint8)
LABELS = np.arange(40) % 3
SMALL = {
    "stdpcsnn": {"filters": 6, "pool": 3},
    "softhebb": {"conv1_maps": 4, "conv2_maps": 5, "conv3_maps": 6},
}


def small(name, **options):
    return create_model(
        name, **{"in_channels": 1, "image_size": (16, 16), "classes": 3, **SMALL[name], **options}
    )


def test_the_linear_readout_is_softmax_regression_by_adam(monkeypatch):
    events, order = from_dense(RNG.uniform(0, 1.4, (150, 20)).astype(np.float32)), np.arange(150)
    labels = np.arange(150) % 4
    readout = LinearReadout(20, 4, seed=3)
    twin = torch.nn.Linear(20, 4)
    for part in twin.parameters():
        torch.nn.init.zeros_(part)
    adam = torch.optim.Adam(twin.parameters(), lr=linear.RATE)
    for epoch in range(2):
        readout.fit(events, labels, order, lambda *_: None)
        for number, start in enumerate(range(0, 150, linear.BATCH)):
            rows = order[start : start + linear.BATCH]
            drawn = stream(3, linear.NAME, epoch, number).random((len(rows), 21), np.float32)[:, :20]
            seen = events.take(rows).intensities() * (drawn >= linear.DROPOUT) / (1 - linear.DROPOUT)
            adam.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                twin(torch.tensor(seen, dtype=torch.float32)), torch.tensor(labels[rows])
            )
            loss.backward()
            adam.step()
    np.testing.assert_allclose(readout.weights[:, :20], twin.weight.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(readout.weights[:, 20], twin.bias.detach().numpy(), atol=1e-6)


def test_its_rate_is_halved_and_its_state_goes_round():
    readout = LinearReadout(5, 3)
    rates = []
    for readout.epochs in (0, 9, 10, 49):
        rates.append(readout.rate())
    assert rates == [1e-3, 1e-3, 5e-4, 1e-3 * 0.5**7]
    with pytest.raises(UserError, match="weights belongs to another one"):
        LinearReadout(6, 3).load_state(readout.state())
    assert (LinearReadout(5, 3).predict(from_dense(np.ones((4, 5)))) == -1).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_settings_follow_the_data_set(name):
    model = get_model("stdpcsnn")
    channels = 3 if name.startswith("cifar") else 1
    chosen = model.for_dataset(name, channels)
    net = create_model("stdpcsnn", in_channels=channels, image_size=(32, 32), **chosen)
    assert net.engine.engine.settings == PUBLISHED[name]
    assert model.for_dataset("cifar10-jpeg", 3) == {"preset": "cifar10"}


@pytest.mark.parametrize("name", SMALL)
def test_other_options_are_refused(name):
    with pytest.raises(UserError, match="option colour: this network has"):
        small(name, colour=1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("colours", [1, 3])
def test_pictures_and_activity(name, colours, tmp_path):
    images = np.repeat(IMAGES, colours, axis=1)
    net = small(name, in_channels=colours)
    for phase in net.phases:
        net.fit_phase(phase, net.inputs(phase, images), LABELS)
    watched = (images[:4], images[:4, 0], LABELS[:4])
    run = ExtractorRun(net.engine, {}, tmp_path, net.epochs(), watched, watched)
    assert [row["layer"] for row in run.layer_table] == list(net.engine.layers)
    assert run.layer_table[-1]["features"] == "x".join(map(str, net.engine.features_shape))
    for layer in net.engine.layers:
        drawn, fired = run.features(layer), run.activity(layer)
        maps = net.weights(layer).shape[0]
        assert drawn.shape[0] == maps == fired.shape[1]
        assert drawn.shape[3:] == ((3,) if colours == 3 else ())
        assert max(drawn.shape[1:3]) <= 16
        assert np.abs(drawn).max() > 0
        assert fired.dtype == np.uint8
        assert fired.min() < 255
    features = net.engine.events(images[:4])
    np.testing.assert_array_equal(run.embedding().features, features.intensities())
    last = net.engine.times(images[:4], net.engine.layers[-1])
    np.testing.assert_array_equal(features.dense().reshape(last.shape), last)


@pytest.mark.parametrize("name", SMALL)
def test_state_goes_round(name):
    net, other = small(name), small(name, seed=4)
    for phase in net.phases:
        net.fit_phase(phase, net.inputs(phase, IMAGES), LABELS)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(net.scores(IMAGES), other.scores(IMAGES))
    np.testing.assert_array_equal(net.features(IMAGES, "conv1"), other.features(IMAGES, "conv1"))
    state = net.state_dict()
    state.pop("epochs")
    with pytest.raises(UserError, match="epochs are missing"):
        other.load_state_dict(state)


def test_axes_are_exchanged_back():
    nets = [small("softhebb", transpose=transpose) for transpose in (True, False)]
    times = [
        net.engine.times(images, "conv3")
        for net, images in zip(nets, (IMAGES, IMAGES.swapaxes(2, 3)), strict=True)
    ]
    np.testing.assert_allclose(times[0], times[1].swapaxes(1, 2), atol=1e-6)


def test_features_learnt_in_passing_are_those_of_a_run(monkeypatch):
    data = Dataset("patches", IMAGES, LABELS, IMAGES[:5], LABELS[:5], ("a", "b", "c"))
    selection = Selection(seed=4, fold="0/5")
    learn, held = chosen_rows(LABELS, selection)
    net = small("softhebb", seed=4)
    net.train(Samples(IMAGES, learn, LABELS[learn]), epochs={"hebbian": 1, "linear": 0})
    few = SoftHebb().with_maps(*SMALL["softhebb"].values())
    monkeypatch.setattr(softhebb, "SoftHebb", lambda: few)
    parts = from_softhebb(data, selection, Place(threads=1)).parts
    for rows, part in ((learn, parts.train), (held, parts.validation)):
        np.testing.assert_array_equal(part.events.dense(), net.engine.events(IMAGES[rows]).dense())


@pytest.mark.parametrize("name", SMALL)
def test_validation_never_ends_the_linear_readout(name):
    assert small(name).patience >= linear.EPOCHS
