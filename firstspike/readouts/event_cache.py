"""Features kept on disk between runs as lists of spikes: one .npz a key, whole or not there.

A damaged file fails the checksums of its members, and the features are made anew.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

import firstspike
from firstspike.errors import UserError
from firstspike.files import atomic_write
from firstspike.readouts.events import Events
from firstspike.readouts.feature_file import read_arrays


def cached_events(key: str, make: Callable[[], Events], *, folder: Path | None) -> Events:
    """Give the events that `make` makes, from their file in `folder` if there; made and kept if not.

    `key` names all that they depend on. Without a folder, or where it cannot be written, nothing is kept.
    """
    if folder is None:
        return make()
    digest = hashlib.blake2b(f"{key} firstspike={firstspike.__version__}".encode(), digest_size=16)
    path = Path(folder) / f"features-{digest.hexdigest()}.npz"
    try:
        return _read(path)
    except (UserError, KeyError):
        events = make()
    try:
        with atomic_write(path) as file:
            np.savez(file, **_arrays(events))
    except UserError:  # no room: the features are in memory all the same
        pass
    return events


def _arrays(events: Events) -> dict[str, np.ndarray]:
    narrow = np.min_scalar_type(events.inputs - 1)
    return {
        "offsets": events.offsets,
        "index": events.index.astype(narrow),
        "times": events.times,
        "inputs": np.int64(events.inputs),
        "max_time": np.float64(events.max_time),
    }


def _read(path: Path) -> Events:
    found = read_arrays(path)
    return Events(
        found["offsets"],
        found["index"].astype(np.int32),
        found["times"],
        int(found["inputs"]),
        float(found["max_time"]),
    )
