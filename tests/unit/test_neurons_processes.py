"""Data-parallel training: two processes learn what one does, in two parts bit for bit."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from firstspike.neurons.augment import mix_steps
from firstspike.neurons.networks import Fast
from firstspike.neurons.networks_conv import FastConv
from firstspike.neurons.optimisation import Recipe
from firstspike.neurons.training import GradientEngine
from tests.unit.test_neurons_training import NETWORKS, engine_for, recordings

TOGETHER = {
    name: NETWORKS[name] for name in ("recurrent LIF", "recurrent GS", "relu D", "Fast kernels", "delays")
} | {"normalised": FastConv((2, 2, 2), (3,), Fast(1, 3, 6, bias=0.3), gain=2.0)}
"""Constants that are learnt, feedback, normalisation over a batch and mixed batches."""

WORKER = """
import sys
from pathlib import Path
import torch
from firstspike.neurons.processes import joined
from tests.unit.test_neurons_processes import learn_all
torch.set_num_threads(1)
with joined(gpus=False):
    learn_all(Path(sys.argv[1]) / str(torch.distributed.get_rank()))
threads = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
sys.exit(any("gloo" in name for name in threads))
"""


def learn_all(folder, **recipe):
    """Train on batches that do not divide evenly; write what every network came to."""
    folder.mkdir()
    for name, description in TOGETHER.items():
        x, y = recordings(32)
        penalty = {"reg_thr": 0.1, "reg_thr_recurrent": 0.1}
        engine = GradientEngine(description.build(1), Recipe(batch=15, lr=1e-2, **penalty, **recipe), seed=3)
        mix = partial(mix_steps, classes=3) if name == "delays" else None
        x = x.reshape(len(x), -1, 2, 2, 2) if name == "normalised" else x
        epochs = [engine.fit_phase("train", x, y, mix=mix) for _ in range(3)]
        epochs.append(engine.evaluate(x, y))
        np.savez(
            folder / f"{name}.npz",
            **engine.state()[0],
            **{key: [getattr(e, key) for e in epochs] for key in ("loss", "spikes", "decisions", "rates")},
        )


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """What two processes learn, a folder each."""
    place = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, place],
            env={**shared, "RANK": str(rank)},
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    return place


def files_of(*folders):
    """What was learnt, network by network, once for each folder."""
    return [(name, *(np.load(folder / f"{name}.npz") for folder in folders)) for name in TOGETHER]


def test_two_processes_learn_what_one_does_in_two_parts_bit_for_bit(of_two, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    learn_all(tmp_path / "one", batch_parts=2)
    torch.set_num_threads(before)
    for name, one, first, second in files_of(tmp_path / "one", of_two / "0", of_two / "1"):
        for key in one:
            np.testing.assert_array_equal(first[key], one[key], err_msg=f"{name} {key}")
            np.testing.assert_array_equal(second[key], one[key], err_msg=f"{name} {key}")


def test_two_processes_learn_what_one_does_but_for_rounding(of_two, tmp_path):
    learn_all(tmp_path / "one")
    for name, one, two in files_of(tmp_path / "one", of_two / "0"):
        if name not in ("delays", "normalised"):  # these mix or normalise what a process holds
            np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(two["spikes"], one["spikes"], rtol=1e-5, err_msg=name)
            np.testing.assert_array_equal(two["decisions"], one["decisions"], err_msg=name)
            weights = next(key for key in one if key.endswith("maps.0.weight"))
            np.testing.assert_allclose(two[weights], one[weights], atol=1e-5, err_msg=name)


def test_parts_may_be_empty():
    x, y = recordings(3)
    engine = engine_for("LIF", batch=3, batch_parts=5)
    assert np.isfinite(engine.fit_phase("train", x, y).loss)
    assert engine.scores(x).shape == (3, 3)
