"""Scripts written for SpykeTorch run unchanged under its name, and alike with the import replaced."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

import firstspike.spyketorch

SCRIPTS = Path(__file__).parent / "spyketorch_scripts"


@pytest.fixture
def installed(monkeypatch):
    """The drop-in modules under SpykeTorch's name, for one test only."""
    names = [name for name in sys.modules if name.partition(".")[0] == "SpykeTorch"]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    firstspike.spyketorch.install()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "SpykeTorch"]:
        del sys.modules[name]


def run(script, folder, *, name):
    """The script's result; `name` takes the place of SpykeTorch in its imports."""
    copy = folder / f"{name}.py"
    copy.write_text((SCRIPTS / script).read_text().replace("from SpykeTorch ", f"from {name} "))
    return runpy.run_path(str(copy))["result"]


@pytest.mark.parametrize("script", ["deep.py", "shallow.py"])
@pytest.mark.usefixtures("installed")
def test_both_names_give_one_result(script, tmp_path):
    old, new = (run(script, tmp_path, name=name) for name in ("SpykeTorch", "firstspike.spyketorch"))
    assert old["answers"] == new["answers"]
    assert old["history"] == new["history"]
    assert all(torch.equal(a, b) for a, b in zip(old["weights"], new["weights"], strict=True))


@pytest.mark.usefixtures("installed")
def test_the_deep_script_learns(tmp_path):
    result = run("deep.py", tmp_path, name="SpykeTorch")
    assert result["answers"][4] == -1  # the blank image
    assert all(sum(window) == 10 for window in result["history"])
    assert result["history"][0][2] == 1
    for learnt in result["weights"][:2]:
        assert learnt.std() > 0.1  # drawn with 0.05
        assert learnt.min() >= 0
        assert learnt.max() <= 1
    assert result["weights"][2].min() >= 0.2
    assert result["weights"][2].max() <= 0.8
    keys = result["keys"]
    assert keys[:5] == ["max_ap", "conv1.weight", "conv2.weight", "conv3.weight", "stdp1.ltp_0"]
    assert keys[-1] == "anti_stdp3.conv_layer.weight"
    assert result["feature"].shape == (12, 17, 17)


@pytest.mark.usefixtures("installed")
def test_the_shallow_script_learns(tmp_path):
    result = run("shallow.py", tmp_path, name="SpykeTorch")
    assert result["answers"][-1] == -1  # the blank image
    right = sum(a == b for a, b in zip(result["answers"], result["labels"], strict=True))
    assert right >= 28
    assert result["history"][-1][0] > result["history"][0][0]
