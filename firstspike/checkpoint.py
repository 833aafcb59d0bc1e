"""Checkpoints: safetensors, with everything that is not an array as JSON under one key of the header.

The reader trusts nothing: it caps what a header may make it allocate, runs no code of the file, and turns
whatever is wrong with a file into one line.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from firstspike.errors import UserError
from firstspike.files import plain, write_bytes

FORMAT = 1
_KEY = "firstspike"
_MAX_HEADER = (
    16 * 2**20
)  # bytes; a network of a hundred layers with ten thousand history rows needs about 3 MB
_REMEDY = "give a checkpoint that firstspike wrote, or start a new run"


def save(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and JSON-able settings as one file, atomically; equal contents give equal bytes.

    `meta` holds at least `model` (a name) and `settings` (a dict); tuples come back as lists.
    """
    from safetensors.numpy import save as to_bytes

    text = json.dumps({"format": FORMAT, "meta": dict(meta)}, sort_keys=True, allow_nan=False, default=plain)
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    write_bytes(path, to_bytes(arrays, metadata={_KEY: text}))


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save` wrote; UserError if the file is absent, damaged, foreign or of a newer format."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    _check_header_length(path)
    try:
        with safe_open(path, framework="numpy") as file:
            meta = _meta(path, file.metadata())
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 (not a dict)
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged or not a checkpoint ({reason}): {_REMEDY}") from error


def check(meta: Mapping[str, Any], *, model: str, settings: Mapping[str, Any]) -> None:
    """Raise UserError if a checkpoint is of another model or names a setting with another value."""
    if meta["model"] != model:
        raise UserError(
            f"the checkpoint is of model {meta['model']}, not {model}: choose --model {meta['model']}"
        )
    now = json.loads(json.dumps(dict(settings), default=plain))
    difference = _first_difference(meta["settings"], now)
    if difference is not None:
        name, then, now = difference
        raise UserError(
            f"the checkpoint was made with {name} = {then}, this run has {name} = {now}: "
            "use the checkpoint's settings or start a new run"
        )


def _check_header_length(path: Path) -> None:
    """Refuse a file that announces a header which it cannot hold or which no checkpoint needs."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except FileNotFoundError:
        raise UserError(
            f"no checkpoint at {path}: give the path of a checkpoint or of a run that has one"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path} ({error.strerror}): {_REMEDY}") from error
    if size < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise UserError(f"{path} is truncated or not a checkpoint: {_REMEDY}")


def _meta(path: Path, header: Mapping[str, str] | None) -> dict[str, Any]:
    """The settings in a safetensors header, checked for their form."""
    if not header or _KEY not in header:
        raise UserError(f"{path} is a safetensors file, but not a checkpoint of firstspike: {_REMEDY}")
    try:
        content = json.loads(header[_KEY])
        version, meta = content["format"], content["meta"]
        sound = (
            isinstance(version, int) and isinstance(meta["model"], str) and isinstance(meta["settings"], dict)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise UserError(f"the settings in {path} are damaged: {_REMEDY}")
    if version != FORMAT:
        raise UserError(
            f"{path} has format {version}, this version reads format {FORMAT}: upgrade firstspike"
        )
    return meta


def _first_difference(
    then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> tuple[str, Any, Any] | None:
    """The first setting, in the order of names, that two settings do not share: (dotted name, then, now)."""
    for name in sorted({*then, *now}):
        before, after = then.get(name, "(absent)"), now.get(name, "(absent)")
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            return _first_difference(before, after, f"{prefix}{name}.")
        return f"{prefix}{name}", before, after
    return None
