"""The shallow network and the one read out by a support vector machine: encoders, dropout, rates, data."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from firstspike import coding
from firstspike.coding import NEVER
from firstspike.data import DataMissing, load
from firstspike.data.images import object_number
from firstspike.data.samples import Samples
from firstspike.errors import UserError
from firstspike.latencies import earliest_map
from models import create_model, get_model, list_models
from s1c1 import S1C1
from tests.zoo import latencies

SHALLOW = [name for name in list_models() if name.startswith("mozafari_shallow2018")]
SIDE = 30


def made(name, **options):
    """A network of three classes for 6x30x30 latencies in 8 steps, that speaks often."""
    known = get_model(name).known_options()
    eager = {option: 3.0 for option in known if option.endswith("_threshold")}
    maps = {option: 6 for option in known if option.endswith("_maps")}
    return create_model(name, classes=3, image_size=(SIDE, SIDE), steps=8, **{**eager, **maps, **options})


def shown(n, **options):
    return latencies(n, side=SIDE, **options), np.arange(n) % 3


# --- the encoder -----------------------------------------------------------------------------------------------------


def pooled_by_hand(image, bank):
    """Intensities (4, R, Q) of one image, cell by cell."""
    window, stride = bank.pooling
    pixels = torch.from_numpy(image)[None, None].double() / 255
    response = torch.nn.functional.conv2d(pixels, torch.from_numpy(bank.kernels)[:, None].double()).abs()
    response[response < 1e-5] = 0
    framed = np.pad(response[0].float().numpy(), ((0, 0), *((window // 2,) * 2,) * 2))
    rows, cols = bank.output_size(*image.shape)
    pooled = np.empty((4, rows, cols), np.float32)
    for k, r, q in np.ndindex(pooled.shape):
        pooled[k, r, q] = framed[k, r * stride :, q * stride :][:window, :window].max()
    raised = pooled.copy()
    for k, r, q in np.ndindex(pooled.shape):
        for y in range(r - 5, r + 6):
            for x in range(q - 5, q + 6):
                inside = 0 <= y < rows and 0 <= x < cols
                distance = max(abs(y - r), abs(x - q))
                if distance and (pooled[k, y, x] if inside else 0) < pooled[k, r, q]:
                    raised[k, r, q] += pooled[k, r, q] * bank.inhibition[distance - 1]
    return raised


@pytest.mark.parametrize("name", ["gabor-eth80", "gabor-caltech"])
def test_responses_are_pooled_raised_ranked_and_one_orientation_stays(name):
    image = np.random.default_rng(0).integers(0, 256, (34, 40), np.uint8)
    bank = coding.BANKS[name]()
    strength = pooled_by_hand(image, bank)
    ours = coding.intensities(torch.from_numpy(image)[None, None], bank)[0].numpy()
    np.testing.assert_allclose(ours, strength, rtol=1e-5)
    everyone = coding.rank_code(torch.from_numpy(ours)[None], steps=15)[0].numpy()
    expected = np.where(ours == ours.max(axis=0), everyone, NEVER)
    np.testing.assert_array_equal(S1C1(name)(image[None])[0], expected)
    assert ((expected != NEVER).sum(axis=0) <= 1).all()


def test_a_pooled_code_is_the_same_in_any_batch_and_with_any_threads():
    images = np.random.default_rng(1).integers(0, 256, (130, 24, 24), np.uint8)
    images[3] = 0
    images[4, :, :12] = 200  # flat on both sides of an edge
    images[4, :, 12:] = 0
    together = S1C1("gabor-eth80")(images)
    assert (together[3] == NEVER).all()
    np.testing.assert_array_equal(S1C1("gabor-eth80", threads=2)(images), together)
    np.testing.assert_array_equal(S1C1("gabor-eth80")(images[3:6]), together[3:6])


# --- the networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "classes", "weights", "threshold"),
    [
        ("mozafari_shallow2018", 62, 2, (20, 4, 30, 30), 20),
        ("mozafari_shallow2018_caltech", 25, 2, (20, 4, 17, 17), 42),
        ("mozafari_shallow2018_eth80", 31, 8, (80, 4, 31, 31), 160),
        ("mozafari_shallow2018_norb", 23, 5, (50, 4, 23, 23), 150),
    ],
)
def test_layers_are_those_of_the_publications(name, size, classes, weights, threshold):
    net = create_model(name, in_channels=4, classes=classes, image_size=(size, size))
    assert net.weights("decision").shape == weights
    assert get_model(name).known_options()["decision_threshold"] == threshold
    assert net.phases == ("decision",)


def test_the_whole_field_of_an_oblong_image_slides():
    net = create_model("mozafari_shallow2018_eth80", in_channels=4, classes=2, image_size=(10, 14))
    assert net.weights("decision").shape == (20, 4, 10, 10)
    assert net.features(latencies(2, channels=4, side=14)[:, :, :10], "decision").shape == (2, 20, 1, 5)


@pytest.mark.parametrize("name", [*SHALLOW, "kheradpisheh2018"])
def test_a_tiny_epoch_of_everything(name):
    net, (seen, labels) = made(name), shown(24, blank=(3, 11))
    for phase in net.phases:
        result = net.fit_phase(phase, seen, labels, record=True)
    answers, scores = net.predict(seen), net.scores(seen)
    assert result.counts.sum() == len(result.decisions) == 24
    np.testing.assert_array_equal(np.flatnonzero(answers < 0), [3, 11])
    np.testing.assert_array_equal(np.flatnonzero(result.decisions < 0), [3, 11])
    spoken = answers >= 0
    np.testing.assert_array_equal(scores.argmax(axis=1)[spoken], answers[spoken])
    assert (scores[~spoken] == 0).all()
    assert scores.max() <= 1
    np.testing.assert_array_equal(net.engine.answers_from("decision", net.inputs("decision", seen)), answers)
    np.testing.assert_array_equal(
        net.engine.answers_from("decision", net.engine.enough("decision", seen)), answers
    )
    other = made(name, seed=5)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.predict(seen), answers)


@pytest.mark.parametrize("name", [*SHALLOW, "kheradpisheh2018"])
def test_a_network_trained_and_resumed_between_epochs_is_the_same(name):
    seen, labels = shown(24)
    samples = Samples(seen, np.arange(24), labels)
    whole, halves, epochs = made(name), made(name), dict.fromkeys(made(name).phases, 2)
    whole.train(samples, epochs=epochs)
    position = halves.train(samples, epochs={**epochs, "decision": 1})
    again = made(name, seed=0)
    again.load_state_dict(halves.state_dict())
    again.train(samples, epochs=epochs, position=position)
    for key, array in whole.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], array, err_msg=key)


@pytest.mark.parametrize("name", SHALLOW)
def test_nothing_to_see_is_nothing_to_say(name):
    net, before = made(name), made(name).weights("decision")
    blank = latencies(4, side=SIDE, blank=range(4))
    net.fit_phase("decision", blank, np.zeros(4, np.int64))
    net.fit_phase("decision", blank[:0], np.empty(0, np.int64))
    assert (net.predict(blank) == -1).all()
    assert net.predict(blank[:0]).shape == (0,)
    np.testing.assert_array_equal(net.weights("decision"), before)


# --- dropout and rates -----------------------------------------------------------------------------------------------

DROPPED = "mozafari_shallow2018_eth80"


def kept(net):
    return net.engine._kept("decision")["kept"].tolist()


def test_maps_are_left_out_for_an_epoch_by_seed_phase_and_epoch():
    net, (seen, labels) = made(DROPPED, dropout=0.5), shown(24)
    first = kept(net)
    assert 0 < len(first) < 30
    assert first == kept(made(DROPPED, dropout=0.5)) != kept(made(DROPPED, dropout=0.5, seed=1))
    before = net.weights("decision").clip(0, 1)
    result = net.fit_phase("decision", seen, labels, record=True)
    assert set(result.winners["decision"][:, 0, 0]) <= set(first)
    out = np.setdiff1d(np.arange(30), first)
    np.testing.assert_array_equal(net.weights("decision")[out], before[out])
    assert kept(net) != first
    assert set(net.predict(seen)) <= {0, 1, 2}  # answers use all maps


def test_no_dropout_and_full_dropout():
    seen, labels = shown(12)
    assert made(DROPPED, dropout=0.0).describe().phases[0].dropout == 0
    silent = made(DROPPED, dropout=1.0)
    assert (silent.fit_phase("decision", seen, labels).decisions == -1).all()


def test_rates_keep_a_fifth_and_follow_the_epoch():
    net, (seen, labels) = made(DROPPED), shown(24, blank=(0, 1))
    result = net.fit_phase("decision", seen, labels, record=True)
    right, wrong, _ = result.counts[0] / 24
    assert len(result.counts) == 1  # the window is the epoch
    factors = 0.2 + 0.8 * np.array([wrong, wrong, right, right])
    expected = np.float32(np.array([0.01, -0.0035, -0.01, 0.0006]) * factors)
    np.testing.assert_array_equal(list(net.rates("decision").values()), expected)
    constant, start = made("mozafari_shallow2018"), made("mozafari_shallow2018").rates("decision")
    constant.fit_phase("decision", seen, labels)
    assert constant.rates("decision") == start


@pytest.mark.parametrize("options", [{"update_batch": 4}])
def test_what_answers_by_its_first_spike_learns_online(options):
    with pytest.raises(UserError, match="answers by its first spike: it learns image after image on the CPU"):
        made("mozafari_shallow2018", **options)


# --- conv2 of kheradpisheh2018 sees inhibited spikes while it learns --------------------------------------------------


def test_the_earliest_map_of_each_place_stays():
    seen = np.full((2, 3, 1, 3), NEVER, np.uint8)
    seen[0, :, 0, 0] = (4, 2, 9)
    seen[0, :, 0, 1] = (255, 7, 7)
    kept = earliest_map(seen)
    assert kept[0, :, 0, 0].tolist() == [NEVER, 2, NEVER]
    assert kept[0, :, 0, 1].tolist() == [NEVER, 7, NEVER]
    assert (kept[0, :, 0, 2] == NEVER).all()
    assert (kept[1] == NEVER).all()
    assert seen[0, 0, 0, 0] == 4


def test_only_learning_is_exclusive():
    net, (seen, _) = made("kheradpisheh2018"), shown(6)
    plain = net.engine.before("conv2", seen)
    np.testing.assert_array_equal(net.inputs("conv2", seen), earliest_map(plain))
    np.testing.assert_array_equal(net.engine.enough("conv2", seen), earliest_map(plain))
    assert (plain != earliest_map(plain)).any()


def test_layers_of_the_deep_unsupervised_network():
    net = create_model("kheradpisheh2018", in_channels=2)
    assert net.weights("conv1").shape == (32, 2, 5, 5)
    assert net.weights("conv2").shape == (150, 32, 2, 2)
    assert net.weights("decision").shape == (10, 150, 9, 9)
    assert net.inputs("conv2", latencies(1, channels=2, side=28)).shape == (1, 32, 15, 15)
    start = net.rates("conv2")
    net.fit_phase("conv2", latencies(600, channels=2, side=28))
    assert net.rates("conv2") == start  # no doubling


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def objects(tmp_path):
    """A small archive like that of the cups and dogs: two classes, ten objects, three views."""
    with tarfile.open(tmp_path / "eth-cup-dog.tar", "w") as archive:
        for value, (kind, number, view) in enumerate(
            (kind, number, view) for kind in ("cup", "dog") for number in range(1, 11) for view in range(3)
        ):
            content = io.BytesIO()
            Image.fromarray(np.full((6, 6), value, np.uint8)).save(content, "png")
            member = tarfile.TarInfo(f"eth/{kind}/{kind}{number}-090-00{view}.png")
            member.size = len(content.getvalue())
            archive.addfile(member, io.BytesIO(content.getvalue()))
    return tmp_path


def values(images):
    return set(images[:, 0, 0].tolist())


def test_whole_objects_are_held_out(objects):
    for number in range(1, 11):
        data = load(f"eth-cup-dog-{number}", objects)
        held = {60 // 2 * kind + 3 * (number - 1) + view for kind in (0, 1) for view in range(3)}
        assert values(data.test_images) == held
        assert values(data.train_images) == set(range(60)) - held
        assert data.class_names == ("cup", "dog")
        np.testing.assert_array_equal(data.test_labels, [0, 0, 0, 1, 1, 1])


def test_or_a_quarter_of_the_images(objects):
    data, other = load("eth-cup-dog", objects, seed=1), load("eth-cup-dog", objects, seed=2)
    assert (len(data.train_images), len(data.test_images)) == (44, 16) or len(data.test_images) == 15
    assert values(data.test_images) != values(other.test_images)


def test_the_number_of_an_object():
    assert [object_number(name) for name in ("cup1-000-000.png", "dog10-090-338.png")] == [1, 10]


def test_some_digits_of_mnist(data_dir):
    whole, pair = load("mnist", data_dir), load("mnist:8,3", data_dir)
    assert pair.class_names == ("8", "3")
    assert len(pair.train_labels) == np.isin(whole.train_labels, (3, 8)).sum()
    row = np.flatnonzero(whole.test_labels == 8)[0]
    np.testing.assert_array_equal(pair.test_images[pair.test_labels == 0][0], whole.test_images[row])


@pytest.mark.parametrize("name", ["mnist:3", "mnist:3,3", "mnist:3,x", "mnist:3,12", "mnist:3;8"])
def test_other_digits_are_refused(name, tmp_path):
    with pytest.raises(UserError, match="give two or more different digits, such as mnist:3,8") as error:
        load(name, tmp_path)
    assert not isinstance(error.value, DataMissing)
