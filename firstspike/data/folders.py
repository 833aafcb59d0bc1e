"""Class folders of images, on disk or in a tar: `train/<class>/*`, `test/<class>/*`, or `<class>/*` to split.

Every file is bounded before it is decoded, a tar is read member by member and never unpacked, and what is not
an 8-bit picture is refused by name. Letters: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from firstspike.data.dataset import Dataset, as_size
from firstspike.data.splits import split
from firstspike.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".npy")
LARGEST_FILE = 64 * 2**20  # bytes of one picture file
LARGEST_PICTURE = 2**24  # pixels of one picture
LARGEST_ARCHIVE = 8 * 2**30  # bytes of all members together, once decompressed
MOST_MEMBERS = 5_000_000
TEST_SHARE = 0.2

Divide = Callable[[list[str], np.ndarray], tuple[np.ndarray, np.ndarray]]  # file names, labels -> train, test


@dataclass(frozen=True)
class Picture:
    """One decoded image: where it lay (folders, then file name) and uint8 pixels (H, W) or (C, H, W)."""

    parts: tuple[str, ...]
    pixels: np.ndarray


def load_folder(
    path: Path,
    *,
    name: str,
    image_size: int | tuple[int, int] | None,
    seed: int,
    mirror: bool = False,
    divide: Divide | None = None,
) -> Dataset:
    """The data set of class folders at `path`, a folder or a tar (packed or not).

    With `train` and `test` on top these are the two parts, else `divide` makes them of the file names and
    labels; without it a fifth of each class, drawn by `seed`, is the test set. Grey images stay grey (N, H,
    W), colour ones (N, 3, H, W). Raises UserError for empty class folders, pictures that cannot be read or are
    not of 8 bits, and mixed sizes without `image_size`.
    """
    size = None if image_size is None else as_size(image_size)
    files, folders = _open(path)
    pictures = [Picture(_parts(file), _decode(data, f"{path}/{file}", size)) for file, data in files]
    pictures.sort(key=lambda picture: picture.parts)
    if not pictures:
        raise UserError(f"{path} holds no images ({' '.join(SUFFIXES)}) in class folders")
    depth = _shared_depth([p.parts for p in pictures])
    pictures = [Picture(p.parts[depth:], p.pixels) for p in pictures]
    folders = [f[depth:] for f in folders if not _hidden(f)]
    parts = _train_and_test(pictures)
    _refuse_empty(path, folders, pictures, level=1 if parts else 0)
    images = _stack(path, pictures)
    if parts is None:
        divide = divide or (lambda names, labels: split(labels, TEST_SHARE, seed=seed))
        return _divided(name, path, pictures, images, divide, mirror)
    return _given_parts(name, path, pictures, images, parts, mirror)


def _given_parts(
    name: str,
    path: Path,
    pictures: list[Picture],
    images: np.ndarray,
    parts: dict[str, np.ndarray],
    mirror: bool,
) -> Dataset:
    classes = [p.parts[1] for p in pictures]
    names = tuple(sorted({classes[i] for i in parts["train"]}))
    unknown = sorted({classes[i] for i in parts["test"]} - set(names))
    if unknown:
        raise UserError(
            f"{path}: test/ has a class that train/ lacks: {unknown[0]}; classes are {', '.join(names)}"
        )
    labels = np.array([names.index(c) if c in names else -1 for c in classes], np.int64)
    train, test = parts["train"], parts["test"]
    return Dataset(name, images[train], labels[train], images[test], labels[test], names, mirror)


def _divided(
    name: str, path: Path, pictures: list[Picture], images: np.ndarray, divide: Divide, mirror: bool
) -> Dataset:
    deep = next((p for p in pictures if len(p.parts) != 2), None)
    if deep:
        raise UserError(
            f"{path}: {'/'.join(deep.parts)} does not lie in a class folder; wanted <class>/<image>"
        )
    names, labels = np.unique([p.parts[0] for p in pictures], return_inverse=True)
    train, test = divide([p.parts[1] for p in pictures], labels)
    return Dataset(
        name, images[train], labels[train], images[test], labels[test], tuple(names.tolist()), mirror
    )


def _train_and_test(pictures: list[Picture]) -> dict[str, np.ndarray] | None:
    """Indices of the pictures under train/ and test/ (any case), or None where the layout is another one."""
    tops = [p.parts[0].lower() for p in pictures]
    if set(tops) != {"train", "test"} or any(len(p.parts) != 3 for p in pictures):
        return None
    return {part: np.flatnonzero(np.array(tops) == part) for part in ("train", "test")}


def _shared_depth(paths: list[tuple[str, ...]]) -> int:
    """How many leading folders all paths share and can lose, so that at least a class folder is left."""
    depth = 0
    while all(len(p) > depth + 2 for p in paths) and len({p[depth] for p in paths}) == 1:
        depth += 1
    return depth


def _refuse_empty(path: Path, folders: list[tuple[str, ...]], pictures: list[Picture], *, level: int) -> None:
    filled = {p.parts[: level + 1] for p in pictures}
    empty = sorted({f for f in folders if len(f) == level + 1} - filled)
    if empty:
        raise UserError(f"{path}: the class folder {'/'.join(empty[0])} holds no images; fill or remove it")


def _stack(path: Path, pictures: list[Picture]) -> np.ndarray:
    """All pixels as one array (N, H, W), or (N, 3, H, W) if any picture is in colour."""
    first = pictures[0]
    for picture in pictures:
        if picture.pixels.shape[-2:] != first.pixels.shape[-2:]:
            sizes = [
                f"{'/'.join(p.parts)} is {p.pixels.shape[-2]}x{p.pixels.shape[-1]}" for p in (first, picture)
            ]
            raise UserError(f"{path} mixes sizes ({', '.join(sizes)}): give --image-size to bring all to one")
    colour = any(p.pixels.ndim == 3 for p in pictures)
    height, width = first.pixels.shape[-2:]
    out = np.empty((len(pictures), 3, height, width) if colour else (len(pictures), height, width), np.uint8)
    for n, picture in enumerate(pictures):
        out[n] = picture.pixels  # a grey picture among colour ones goes to all three planes
    return out


def _decode(data: bytes, where: str, size: tuple[int, int] | None) -> np.ndarray:
    """Pixels of one picture file, uint8 (H, W) or (3, H, W), resized to `size` if given."""
    from PIL import Image

    numbers = where.lower().endswith(".npy")
    picture = Image.fromarray(_from_npy(data, where)) if numbers else _from_file(data, where)
    if size is not None:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _from_file(data: bytes, where: str) -> Image:
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height > LARGEST_PICTURE:
            raise UserError(
                f"{where} has {picture.width}x{picture.height} pixels, more than {LARGEST_PICTURE}"
            )
        if picture.mode == "F" or picture.mode.startswith("I"):
            raise UserError(
                f"{where} has pixels of mode {picture.mode}; only 8-bit images are read, convert it"
            )
        return picture.convert(
            "L" if picture.mode in ("1", "L", "LA", "La") or _grey_palette(picture) else "RGB"
        )
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
        raise UserError(f"{where} is not a readable image ({error}); repair or remove it") from error


def _grey_palette(picture: Image) -> bool:
    if picture.mode != "P":
        return False
    colours = np.asarray(picture.convert("RGB"))
    return bool((colours == colours[..., :1]).all())


def _from_npy(data: bytes, where: str) -> np.ndarray:
    try:
        pixels = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{where} is not a readable array ({error}); repair or remove it") from error
    if pixels.dtype != np.uint8:
        nan = " with NaN" if pixels.dtype.kind == "f" and np.isnan(pixels).any() else ""
        raise UserError(f"{where} holds {pixels.dtype} pixels{nan}; only uint8 images (0 to 255) are read")
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or pixels.size == 0:
        raise UserError(f"{where} has the shape {pixels.shape}; wanted (H, W) or (H, W, 3)")
    return pixels


def _open(path: Path) -> tuple[Iterable[tuple[str, bytes]], list[tuple[str, ...]]]:
    """Picture files (path inside, content) in any order, and the folders, complete once all were read."""
    if path.is_dir():
        return _folder_files(path), [f.relative_to(path).parts for f in path.rglob("*") if f.is_dir()]
    if not path.is_file():
        raise UserError(f"{path} does not exist; wanted a folder of class folders of images, or a tar of one")
    folders: list[tuple[str, ...]] = []
    return _tar_files(path, folders), folders


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in path.rglob("*"):
        if _is_picture(file.relative_to(path).as_posix()) and file.is_file():
            if file.stat().st_size > LARGEST_FILE:
                raise UserError(f"{file} is larger than {LARGEST_FILE} bytes")
            try:
                yield file.relative_to(path).as_posix(), file.read_bytes()
            except OSError as error:
                raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _tar_files(path: Path, folders: list[tuple[str, ...]]) -> Iterator[tuple[str, bytes]]:
    """Picture members of a tar in one pass; the folders it names are appended to `folders`."""
    total = 0
    _check_end(path)
    try:
        with tarfile.open(path, "r|*") as archive:
            for count, member in enumerate(archive):
                total += member.size
                _check_member(path, member, total, count)
                if member.isdir():
                    folders.append(_parts(member.name))
                elif member.isreg() and _is_picture(member.name):
                    yield PurePosixPath(member.name).as_posix(), archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a readable tar, or truncated ({error}); fetch it again") from error


def _check_end(path: Path) -> None:
    """A plain tar ends with zeros: one cut between two members would otherwise pass for a shorter one."""
    with open(path, "rb") as file:
        head = file.read(512)
        file.seek(max(0, path.stat().st_size - 512))
        if head[257:262] == b"ustar" and any(file.read()):
            raise UserError(f"{path} is truncated: a tar ends with a block of zeros; fetch it again")


def _check_member(path: Path, member: tarfile.TarInfo, total: int, count: int) -> None:
    inside = PurePosixPath(member.name)
    if inside.is_absolute() or ".." in inside.parts:
        raise UserError(f"{path} has a member outside of itself: {member.name}; it is not read")
    if member.size > LARGEST_FILE or total > LARGEST_ARCHIVE or count >= MOST_MEMBERS:
        raise UserError(
            f"{path} unpacks to more than is allowed at {member.name}; use a folder of plain files"
        )


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not _hidden(_parts(name))


def _hidden(parts: tuple[str, ...]) -> bool:
    """What editors and archivers leave behind: `.git`, `._x.png`, `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
