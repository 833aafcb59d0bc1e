"""A run's folder, served by TensorBoard itself: no page may be empty."""

import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from firstspike.report.tensorboard import TensorBoard
from tests.unit.test_report_callbacks import FakeRun, drive


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "tensorboard"
    drive(TensorBoard(folder), FakeRun(folder))
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--port",
        "0",
        "--load_fast=false",
    ]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = next(
            (match for line in server.stderr if (match := re.search(r"http://localhost:\d+/", line))), None
        )
        assert found, "tensorboard did not start"
        yield found[0]
    finally:
        server.terminate()
        server.communicate(timeout=10)


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def test_every_page_has_data(address):
    wanted = {"scalars", "images", "histograms", "distributions", "text", "hparams", "projector"}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        plugins = json.loads(fetch(f"{address}data/plugins_listing"))
        missing = {name for name in wanted if not plugins[name]["enabled"]}
        if not missing:
            break
        time.sleep(0.2)
    assert not missing


def test_the_projector_has_points_labels_and_thumbnails(address):
    base = f"{address}data/plugin/projector"
    (run,) = json.loads(fetch(f"{base}/runs"))
    (embedding,) = json.loads(fetch(f"{base}/info?run={run}"))["embeddings"]
    query = f"?run={run}&name={embedding['tensorName']}"
    assert len(fetch(f"{base}/tensor{query}&num_rows=9")) == 9 * 12 * 4
    assert fetch(f"{base}/metadata{query}&num_rows=9").split() == [str(k).encode() for k in range(9)]
    assert fetch(f"{base}/sprite_image{query}").startswith(b"\x89PNG")
