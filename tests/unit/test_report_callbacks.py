import csv
import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from firstspike.report import activation
from firstspike.report.activation import ActivationMaps
from firstspike.report.callbacks import Callback, HistoryFile
from firstspike.report.console import Console, table_lines, time_left
from firstspike.report.records import Embedding, EpochRecord, Progress, Sample
from firstspike.report.tensorboard import TensorBoard, flat_settings
from firstspike.report.writer import Answers

RNG = np.random.default_rng(0)
THUMBNAILS = RNG.integers(0, 256, (9, 8, 8), np.uint8)


class FakeNetwork:
    layers = ("conv1", "decision")

    def weights(self, layer):
        return np.full((4, 2, 3, 3), 0.8, np.float32)

    def rates(self, layer):
        return {"ltp": 0.004, "ltd": -0.003}


@dataclass
class FakeRun:
    folder: Path
    network: FakeNetwork = field(default_factory=FakeNetwork)
    settings: dict = field(
        default_factory=lambda: {"model": "tiny", "rule": {"window": 20}, "epochs": [1, 2]}
    )
    plan: dict = field(default_factory=lambda: {"conv1": 1, "decision": 2})
    one_pace: bool = True
    layer_table: tuple = ({"layer": "conv1", "maps": 4}, {"layer": "decision", "maps": 40})
    sample: Sample = field(
        default_factory=lambda: Sample(
            RNG.integers(0, 256, (3, 8, 8), np.uint8),
            RNG.integers(0, 15, (3, 2, 8, 8), np.uint8),
            np.array(["4", "T-shirt/top", "ä"]),
        )
    )

    def activity(self, layer):
        if layer == "decision":
            spikes = np.full((3, 40, 2, 2), 14, np.uint8)
            spikes[2] = 255
            return spikes
        spikes = np.full((3, 4, 8, 8), 255, np.uint8)
        spikes[0, 1, 2, 3], spikes[0, 0, 0, 0], spikes[1, 3, 7, 7] = 5, 2, 14
        return spikes

    def features(self, layer):
        return RNG.normal(size=(4, 3, 3))

    def embedding(self):
        return Embedding(RNG.integers(0, 15, (9, 12)), np.arange(9), THUMBNAILS)


def record(phase, epoch, accuracy=None, **figures):
    decided = {} if accuracy is None else {"accuracy": accuracy, "loss": 1 - accuracy, "silent": 0.01}
    rates = {"ltp": 0.004, "ltd": -0.003}
    same = {"images": 100, "seconds": 2.0, "images_per_second": 50.0, "convergence": {"conv1": 0.16}}
    return EpochRecord(phase, epoch, **same, rates=rates, **decided, **figures)


EPOCHS = (
    record("conv1", 0),
    record("decision", 0, 0.5),
    record("decision", 1, 0.75, validation_accuracy=0.7, best=True),
)


def result():
    labels = np.arange(20) % 2
    scores = np.eye(2)[labels]
    return SimpleNamespace(
        answers=Answers(labels, np.where(np.arange(20) < 4, -1, labels), scores, ["a", "b"])
    )


def drive(callback, run, records=EPOCHS):
    """The events of a run, as the trainer sends them."""
    callback.on_run_start(run)
    for phase, epochs in run.plan.items():
        callback.on_phase_start(phase, epochs)
        for row in (row for row in records if row.phase == phase):
            for done in (50, 100):
                callback.on_batch(Progress(phase, row.epoch, epochs, done, 100, done / 50))
            callback.on_epoch(row)
        callback.on_phase_end(phase)
    callback.on_run_end(result())


class Clock:
    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def test_a_callback_needs_to_do_nothing(tmp_path):
    drive(Callback(), FakeRun(tmp_path))


def test_time_left_counts_this_pace_on():
    plan = {"conv1": 2, "conv2": 4, "decision": 10}
    half = Progress("conv1", epoch=0, epochs=2, done=500, total=1000, seconds=3.0)
    assert time_left(half, plan) == (9.0, 9.0 + 14 * 6.0)
    assert time_left(Progress("decision", 9, 10, 1000, 1000, 6.0), plan) == (0.0, 0.0)
    assert time_left(Progress("conv1", 0, 2, 0, 1000, 0.0), plan) == (0.0, 0.0)


def test_phases_of_another_pace_are_not_priced_by_this_one(tmp_path):
    stream = io.StringIO()
    drive(Console(stream, clock=Clock(0.01)), FakeRun(tmp_path, one_pace=False))
    lines = [line.rpartition("left: ")[2] for line in stream.getvalue().splitlines() if "left: " in line]
    assert lines == ["0.0 s, then decision 2", "2.0 s", "0.0 s"]


def test_console_tells_each_epoch_in_a_line(tmp_path):
    stream = io.StringIO()
    drive(Console(stream, clock=Clock(0.01)), FakeRun(tmp_path))
    assert stream.getvalue().splitlines() == [
        "layer     maps",
        "conv1     4",
        "decision  40",
        f"run folder: {tmp_path}",
        "conv1     1/1  w(1-w) 0.1600  2.0 s, 50 images/s  left: 0.0 s, whole run 4.0 s",
        "decision  1/2  accuracy 50.00 %  silent 1.00 %  2.0 s, 50 images/s  left: 2.0 s",
        "decision  2/2  accuracy 75.00 %  silent 1.00 %  validation 70.00 %  best  2.0 s, 50 images/s"
        "  left: 0.0 s",
        "trained in 0.1 s",
    ]


def test_console_gives_a_sign_of_life_in_long_epochs(tmp_path):
    stream = io.StringIO()
    drive(Console(stream, clock=Clock(20.0)), FakeRun(tmp_path))
    lines = [line for line in stream.getvalue().splitlines() if " 50 %" in line]
    assert lines[0] == "conv1     1/1   50 %  left: 1.0 s, whole run 5.0 s"
    assert len(lines) == 3


def test_console_draws_bars_on_a_terminal(tmp_path):
    stream = io.StringIO()
    stream.isatty = lambda: True
    console = Console(stream)
    console.on_run_start(FakeRun(tmp_path))
    console.on_phase_start("decision", 2)
    console.on_batch(Progress("decision", 0, 2, done=30, total=100, seconds=3.0))
    time.sleep(0.15)  # a bar is drawn ten times a second at most
    console.on_batch(Progress("decision", 0, 2, done=60, total=100, seconds=6.0, right=45))
    bar = stream.getvalue().split("\r")[-1]
    assert bar.startswith("decision  1/2:  60%|")
    assert "60/100" in bar
    assert "left: 14 s  right 75.0 %" in bar
    console.on_epoch(EPOCHS[1])
    assert stream.getvalue().endswith(
        "decision  1/2  accuracy 50.00 %  silent 1.00 %  2.0 s, 50 images/s  left: 2.0 s\n"
    )


def test_a_table_of_no_layers():
    assert table_lines([]) == []


def test_history_goes_on_after_a_resume_without_gap_or_double(tmp_path):
    def epochs_in_file():
        return [(row["phase"], row["epoch"]) for row in csv.DictReader((tmp_path / "h.csv").open())]

    first = HistoryFile(tmp_path / "h.csv")
    first.on_run_start(FakeRun(tmp_path))
    for row in EPOCHS:
        first.on_epoch(row)
    whole = (tmp_path / "h.csv").read_bytes()
    assert epochs_in_file() == [("conv1", "0"), ("decision", "0"), ("decision", "1")]

    resumed = HistoryFile(tmp_path / "h.csv", EPOCHS[:2])  # the checkpoint is one epoch behind the file
    resumed.on_run_start(FakeRun(tmp_path))
    assert epochs_in_file() == [("conv1", "0"), ("decision", "0")]
    resumed.on_epoch(EPOCHS[1])  # an epoch that is run once more
    resumed.on_epoch(EPOCHS[2])
    assert (tmp_path / "h.csv").read_bytes() == whole


def test_activation_maps_show_when_neurons_fire(tmp_path):
    drive(ActivationMaps(tmp_path / "maps"), FakeRun(tmp_path))
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == ["image_0_label_4.png", "image_1_label_T-shirt-top.png", "image_2_label_ä.png"]
    with Image.open(tmp_path / "maps" / names[0]) as image:
        assert np.asarray(image).std() > 20


def test_each_step_has_a_colour_and_silence_is_grey():
    colours = activation.coloured(np.array([0, 1, 14, 255, 15], np.uint8), 15)
    assert len(np.unique(colours[:3], axis=0)) == 3
    assert colours[3].tolist() == colours[4].tolist() == [38, 38, 38]
    assert colours[0].sum() > colours[1].sum() > colours[2].sum()
    assert activation.steps_of({"a": np.array([3, 255], np.uint8), "b": np.array([255], np.uint8)}) == 4


def test_layers_that_fire_in_one_step_have_no_map(tmp_path):
    run = FakeRun(tmp_path)
    assert list(activation.timed({layer: run.activity(layer) for layer in run.network.layers})) == ["conv1"]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    drive(TensorBoard(folder), FakeRun(folder))
    return folder, read(folder)


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events, tag):
    return [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]


def test_tensorboard_has_the_curves(events):
    assert scalars(events[1], "accuracy/training") == [(2, 0.5), (3, 0.75)]
    assert scalars(events[1], "accuracy/validation") == [(3, 0.7)]
    assert scalars(events[1], "loss/training") == [(2, 0.5), (3, 0.25)]
    assert scalars(events[1], "convergence/conv1") == [(1, 0.16), (2, 0.16), (3, 0.16)]
    assert scalars(events[1], "rates/ltp") == [(1, 0.004), (2, 0.004), (3, 0.004)]
    assert scalars(events[1], "spikes_per_image/conv1")[0] == (0, 1.0)
    assert scalars(events[1], "spikes_per_image/decision")[0] == (0, pytest.approx(160 * 2 / 3))
    assert scalars(events[1], "speed/images_per_second")[0] == (1, 50.0)
    assert scalars(events[1], "final/accuracy") == [(3, 0.8)]


def test_tensorboard_has_pictures_texts_and_histograms(events):
    tags = events[1].Tags()
    assert set(tags["images"]) == {"features/conv1", "activation/conv1", "confusion_matrix"}
    assert set(tags["histograms"]) == {"weights/conv1", "weights/decision"}
    assert "layers/text_summary" in tags["tensors"]
    text = events[1].Tensors("layers/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.splitlines()[2] == "| conv1 | 4 |"
    for tag in tags["images"]:
        image = Image.open(io.BytesIO(events[1].Images(tag)[0].encoded_image_string))
        assert image.width > 300
        assert np.asarray(image).std() > 5


def test_tensorboard_has_the_projector(events):
    folder = events[0]
    assert "sprite" in (folder / "projector_config.pbtxt").read_text()
    place = folder / "00003" / "hidden"
    assert np.loadtxt(place / "tensors.tsv").shape == (9, 12)
    assert (place / "metadata.tsv").read_text().split() == [str(k) for k in range(9)]
    with Image.open(place / "sprite.png") as sprite:
        tiles = np.asarray(sprite.convert("RGB")).reshape(3, 8, 3, 8, 3).swapaxes(1, 2).reshape(9, 8, 8, 3)
    thumbnails = np.repeat(THUMBNAILS[..., None], 3, axis=-1).astype(int)
    assert np.abs(tiles - thumbnails).max() <= 1


def test_tensorboard_has_the_settings(events):
    plugin = events[1].SummaryMetadata("_hparams_/experiment").plugin_data.content
    for word in (b"rule.window", b"model", b"final/accuracy"):
        assert word in plugin


def test_tensorboard_goes_on_after_a_resume(tmp_path):
    killed = TensorBoard(tmp_path)
    killed.on_run_start(FakeRun(tmp_path))
    for row in EPOCHS[:2]:
        killed.on_epoch(row)
    killed._writer.close()
    resumed = TensorBoard(tmp_path, done=1)  # the checkpoint is one epoch behind
    resumed.on_run_start(FakeRun(tmp_path))
    resumed.on_epoch(record("decision", 0, 0.6))
    resumed._writer.close()
    assert scalars(read(tmp_path), "accuracy/training") == [(2, 0.6)]
    assert scalars(read(tmp_path), "convergence/conv1") == [(1, 0.16), (2, 0.16)]


def test_settings_are_flattened():
    settings = {"a": {"b": 2, "c": {"d": [1, 2]}}, "e": None, "f": True}
    assert flat_settings(settings) == {"a.b": 2, "a.c.d": "[1, 2]", "e": "None", "f": True}
