"""The one decorator of all kernels: compiled on first use, kept on disk between processes, free of Python's lock.

numba ties a cached function to its own file alone: a change in a function of another file that it calls would go
unnoticed. So the kernels of a file are cached in a folder named after the text of that file and of all kernel files
that it imports.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from numba import config, njit

IMPORT = re.compile(r"^from firstspike\.kernels\.(\w+) import", re.MULTILINE)


def compiled(function: Callable | None = None, *, signature: Any = None, **options: Any) -> Any:
    """Decorator: compile without fastmath and without threads of its own.

    With a `signature` at once, without one on first use; further `options` are numba's.
    """
    if function is None:
        return partial(compiled, signature=signature, **options)
    folder = cache_folder(Path(function.__code__.co_filename))
    with _cached_in(folder):
        return njit(signature, cache=folder is not None, nogil=True, **options)(function)


@contextlib.contextmanager
def _cached_in(folder: Path | None) -> Iterator[None]:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder or "")
    try:
        yield
    finally:
        config.CACHE_DIR = before


@cache
def cache_folder(source: Path) -> Path | None:
    """Where a file's kernels are cached: in $NUMBA_CACHE_DIR, the user's cache or the temporary folder.

    None where no place can be written: the kernels are then compiled anew in each process.
    """
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    places = [os.environ.get("NUMBA_CACHE_DIR"), Path(user) / "firstspike", tempfile.gettempdir()]
    for place in filter(None, places):
        folder = Path(place) / f"kernels-{source.stem}-{digest(source)}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return None


def digest(source: Path) -> str:
    """Digest of a file and of all kernel files that it imports, directly or not."""
    texts: dict[Path, bytes] = {}
    open_files = [source]
    while open_files:
        path = open_files.pop()
        if path not in texts:
            texts[path] = path.read_bytes()
            names = IMPORT.findall(texts[path].decode())
            open_files += [path.with_name(f"{name}.py") for name in names]
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(texts):
        total.update(texts[path])
    return total.hexdigest()
