"""Shared fixtures: where the data sets lie; and torch on one thread, since the tests themselves run side by side."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported

REPOSITORY = Path(__file__).resolve().parents[1]


def data_folder() -> Path | None:
    """$FIRSTSPIKE_DATA, else ../shared/data beside the repository, else None."""
    places = [os.environ.get("FIRSTSPIKE_DATA"), REPOSITORY.parent / "shared" / "data"]
    return next((Path(place) for place in places if place and Path(place).is_dir()), None)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with MNIST/raw and the rest; tests that need it are skipped where there is none."""
    folder = data_folder()
    if folder is None:
        pytest.skip("no data folder: set FIRSTSPIKE_DATA to the folder that holds MNIST/raw")
    return folder
