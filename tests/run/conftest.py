"""The command's surroundings: an empty folder to stand in, a cache of its own, no data sets, no network."""

import pytest

from firstspike.data import DataMissing, download
from tests.run.command import TINY, the_run, typed


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def surroundings(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIRSTSPIKE_CACHE", str(cache))
    monkeypatch.delenv("FIRSTSPIKE_DATA", raising=False)

    def refuse(addresses):
        raise DataMissing(f"no network: {addresses[0]} is not reachable")

    monkeypatch.setattr(download, "_demand_network", refuse)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache):
    """The folder of a run that has ended; not to be written into."""
    runs = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        assert typed(*TINY, "--run-dir", runs, "--activation-maps", "--tensorboard") == 0
    return the_run(runs)
