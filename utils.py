"""What several rooms need and no library gives: seeds, a device, whole files, durations, how a command ends."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstspike.errors import UserError
from firstspike.files import (
    atomic_write,
    remove_leftovers,
    write_bytes,
    write_json,
    write_refusal,
    write_text,
)
from firstspike.report.text import human_duration

__all__ = [
    "DEVICES",
    "Device",
    "Launched",
    "atomic_write",
    "choose_device",
    "exit_status",
    "generator",
    "human_duration",
    "remove_leftovers",
    "seed_sequence",
    "use_threads",
    "wait_briefly",
    "write_bytes",
    "write_json",
    "write_text",
]

DEVICES = ("auto", "cpu", "cuda", "mps")


def seed_sequence(seed: int, *key: str | int) -> np.random.SeedSequence:
    """The seed of one draw, a function of (seed, names and numbers) alone, the same on all machines.

    The whole key is hashed at once, because SeedSequence([1]) equals SeedSequence([1, 0]).
    """
    parts = [seed, *key]
    if not all(isinstance(part, str | int | np.integer) for part in parts):
        raise TypeError(f"a seed's key holds strings and whole numbers only, not {parts}")
    text = json.dumps([part if isinstance(part, str) else int(part) for part in parts])
    return np.random.SeedSequence(
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
    )


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """A fresh generator for one draw; see seed_sequence."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, *key)))


@dataclass(frozen=True)
class Device:
    """A device and the line that says why it was picked."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"device: {self.name} ({self.reason})"


def choose_device(name: str, *, batched: bool = False) -> Device:
    """The device for a run: `batched` says whether its work comes in mini-batches that can fill a GPU.

    Exact online rules learn one image after the other and leave a GPU idle, so `auto` keeps them on the CPU.
    """
    if name not in DEVICES:
        raise UserError(f"unknown device {name!r}: choose one of {', '.join(DEVICES)}")
    if name == "cpu":
        return Device("cpu", "as asked")
    if name == "auto" and not batched:
        return Device("cpu", "compiled kernels; these rules learn one image after the other")
    if name == "auto":
        found = next((gpu for gpu in ("cuda", "mps") if _available(gpu)), None)
        return Device(found, "the fastest here") if found else Device("cpu", "no GPU found")
    if not _available(name):
        raise UserError(f"--device {name}: no such device is available here; choose --device cpu or auto")
    return Device(name, "as asked")


@dataclass(frozen=True)
class Launched:
    """Which of how many processes torchrun started this one is: the first of one, if it was not started so."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> "Launched":
        """This process."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def wait_briefly() -> None:
    """Have torch's idle threads leave their cores after 50,000 turns of waiting; to be said before torch is imported.

    By default GNU OpenMP's wait six times as long, on cores that the next batch and the kernels of neurons need.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "50000")


def use_threads(count: int) -> None:
    """Let torch, and the kernels of neurons with it, use so many threads."""
    import torch

    torch.set_num_threads(count)


def _available(gpu: str) -> bool:
    import torch

    return torch.cuda.is_available() if gpu == "cuda" else torch.backends.mps.is_available()


def exit_status(program: str, command: Callable[[], int]) -> int:
    """Run a command; what stops it becomes one line and an exit status: 2, or 130 after an interrupt."""
    try:
        return command()
    except UserError as error:
        complain(f"{program}: {error}")
        return 2
    except MemoryError as error:
        complain(f"{program}: not enough memory: {str(error) or 'take fewer images or maps'}")
        return 2
    except BrokenPipeError:  # the reader of our output went away, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # TensorBoard, for one, writes by itself
        complain(f"{program}: {write_refusal(error.filename or 'a file of the run', error)}")
        return 2
    except KeyboardInterrupt as interrupt:
        complain(f"\ninterrupted: {str(interrupt) or 'nothing was begun'}")
        return 130


def complain(line: str) -> None:
    """Say on stderr what went wrong; of the processes that torchrun started the first one speaks."""
    if Launched.here().rank == 0:
        print(line, file=sys.stderr)
