"""Principal components of features, without holding them as numbers of more than a byte.

N images, F features, D components. A feature is its rank, uint8 0..T, looked up in a table of T + 1 values.
"""

import numpy as np

CHUNK = 1000  # images that are looked up at once


def fit(ranks: np.ndarray, table: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean float32 (F,) and basis float32 (F, D) of ranks (N, F), from the covariance: largest variance first.

    D is at most N and F, less where fewer directions vary. With 0 components the features stay as they are: D = 0.
    """
    n, size = ranks.shape
    count = min(components, n, size)
    mean = sum(table[part].sum(axis=0, dtype=np.float64) for part in _parts(ranks)) / n
    mean = mean.astype(np.float32)
    if count == 0:
        return mean, np.zeros((size, 0), np.float32)
    from scipy.linalg import eigh

    if (
        n < size
    ):  # the products of images are a smaller matrix than those of features, with the same eigenvalues
        centred = (table[ranks] - mean).astype(np.float64)
        values, vectors = eigh(centred @ centred.T, subset_by_index=(n - count, n - 1), overwrite_a=True)
        varies = values > 1e-9 * values.max()
        vectors = centred.T @ vectors[:, varies] / np.sqrt(values[varies])
    else:
        covariance = np.zeros((size, size))
        for part in _parts(ranks):
            centred = table[part] - mean
            covariance += centred.T @ centred
        _, vectors = eigh(covariance, subset_by_index=(size - count, size - 1), overwrite_a=True)
    return mean, np.ascontiguousarray(vectors[:, ::-1], np.float32)


def transform(ranks: np.ndarray, table: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Components float32 (N, D) of ranks (N, F); the looked-up features themselves if the basis is empty."""
    if basis.shape[1] == 0:
        return table[ranks]
    out = np.empty((len(ranks), basis.shape[1]), np.float32)
    for first in range(0, len(ranks), CHUNK):
        rows = slice(first, first + CHUNK)
        out[rows] = (table[ranks[rows]] - mean) @ basis
    return out


def _parts(ranks: np.ndarray) -> list[np.ndarray]:
    return [ranks[first : first + CHUNK] for first in range(0, len(ranks), CHUNK)]
