"""Which samples, in which order: functions of a seed and of names, never of what was drawn before."""

from __future__ import annotations

import zlib

import numpy as np

from firstspike.errors import UserError


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that depends on (seed, *key) alone; names count by their CRC-32."""
    if seed < 0:
        raise UserError(f"seed {seed}: must be 0 or more")
    words = [zlib.crc32(word.encode()) if isinstance(word, str) else word for word in key]
    # The length goes in because trailing zeros do not change a SeedSequence.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words, len(words)])))


def order(n: int, *, seed: int, phase: str, epoch: int) -> np.ndarray:
    """The order of `n` samples in an epoch: int64 permutation, a function of (seed, phase, epoch)."""
    return stream(seed, "order", phase, epoch).permutation(n)


def subset(n: int, ratio: float, *, seed: int) -> np.ndarray:
    """int(ratio n) of `n` samples (at least one), sorted; a smaller ratio gives a part of a larger one's."""
    if not 0 < ratio <= 1:
        raise UserError(f"ratio {ratio}: must be above 0 and at most 1")
    count = max(1, int(ratio * n + 1e-9))  # 0.29 * 100 is 28.999999999999996
    return np.sort(stream(seed, "subset").permutation(n)[:count])


def split(labels: np.ndarray, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, validation), each sorted: round(share N) held out, every class in proportion.

    Class sizes are rounded by largest remainders, so that the total is exact; no class loses its last
    training sample.
    """
    labels = np.asarray(labels)
    if not 0 <= share < 1:
        raise UserError(f"held-out share {share}: must be at least 0 and below 1")
    classes, sizes = np.unique(labels, return_counts=True)
    held_out = [
        stream(seed, "split", int(label)).permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, _shares(sizes, share), strict=True)
    ]
    validation = np.sort(np.concatenate([np.empty(0, np.int64), *held_out]))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def folds(labels: np.ndarray, count: int = 10) -> np.ndarray:
    """The fold of each sample, int64 (S,): stratified, without shuffling.

    As scikit-learn's StratifiedKFold: fold f gets of each class as many samples as sorted(labels)[f::count]
    has; within a class they are dealt in stored order, first to fold 0. Classes sort by first appearance.
    """
    labels = np.asarray(labels)
    _, first, encoded = np.unique(labels, return_index=True, return_inverse=True)
    by_appearance = np.argsort(np.argsort(first))[encoded]
    sizes = np.bincount(by_appearance)
    if count < 2 or sizes.min() < count:
        raise UserError(f"{count} folds, smallest class has {sizes.min()} samples; expected 2 ... that many")
    dealt = np.sort(by_appearance)
    out = np.empty(len(labels), np.int64)
    for k in range(len(sizes)):
        quotas = [np.count_nonzero(dealt[f::count] == k) for f in range(count)]
        out[by_appearance == k] = np.repeat(np.arange(count), quotas)
    return out


def one_of_folds(labels: np.ndarray, fold: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, validation), each sorted, of ``"F/K"``: fold F, from 0, of K `folds` is held out."""
    number, count = fold_of(fold)
    held_out = folds(labels, count) == number
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def fold_of(text: str) -> tuple[int, int]:
    """The numbers in ``"F/K"``: fold F, from 0, of K."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()) or int(count) < 2 or int(number) >= int(count):
        raise UserError(f"fold {text!r}: give F/K, fold F (from 0) of K, such as 0/10")
    return int(number), int(count)


def split_groups(groups: np.ndarray, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, validation), each sorted, that share no group (speaker, object).

    Groups are drawn by `seed` and held out whole: as many as bring the held-out part nearest to `share`
    of the samples, at least one if `share` > 0, and never the last one.
    """
    if not 0 <= share < 1:
        raise UserError(f"held-out share {share}: must be at least 0 and below 1")
    names, sizes = np.unique(groups, return_counts=True)
    if share > 0 and len(names) < 2:
        raise UserError("only one speaker: nothing can be held out by speaker")
    drawn = stream(seed, "split groups").permutation(len(names))
    missed = np.abs(np.cumsum(sizes[drawn]) - share * len(groups))[:-1]
    count = int(np.argmin(missed)) + 1 if share > 0 else 0
    held_out = np.isin(groups, names[drawn[:count]])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _shares(sizes: np.ndarray, share: float) -> np.ndarray:
    """How many of each class: floor(share size), the largest remainders rounded up until the total is met."""
    exact = share * sizes
    counts = np.floor(exact + 1e-9).astype(np.int64)
    missing = int(np.floor(share * sizes.sum() + 0.5)) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[: max(missing, 0)]] += 1
    return np.minimum(counts, sizes - 1)
