"""Classical classifiers of features: support vector machines with and without a kernel, nearest neighbours.

A classifier is a frozen description. What it learnt is a dict of arrays, which a checkpoint holds as they are; answers
are computed from them here, a few products of matrices. Fitting is left to scikit-learn.

N images, F features, D components, S support vectors, K classes of which P were seen, Q pairs of these.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from firstspike import components
from firstspike.errors import UserError

Arrays = dict[str, np.ndarray]
Shifted = Callable[[np.ndarray, int, int], np.ndarray]  # of training images: rows down, columns right
Share = Callable[[float], None]  # what is told how much of the work is done

CROWD = 2000  # a machine's time grows with the square of what it sees
FIRST_FIT = 0.3  # of the work, where machines are fitted anew
CACHE = 800  # megabytes of a machine's kernel that are kept while it is fitted


class Shown(NamedTuple):
    """What a classifier is fitted to: components float32 (N, D), classes as numbers 0..P-1 (N,), P, shifted ones.

    ``tell`` is told how far it is.
    """

    seen: np.ndarray
    numbers: np.ndarray
    classes: int
    again: Shifted
    tell: Share


@dataclass(frozen=True)
class Classifier:
    """Sees (rank / steps) ** ``power`` of every feature, the earlier the larger, silent 0; or principal components.

    ``components`` 0 leaves the features as they are.
    """

    power: float = 1.0
    components: int = 0

    def fit(
        self,
        ranks: np.ndarray,
        labels: np.ndarray,
        *,
        steps: int,
        seed: int,
        threads: int,
        shifted: Shifted | None = None,
        tell: Share = lambda share: None,
    ) -> Arrays:
        """What is learnt from ranks uint8 (N, F) with labels (N,); ``shifted`` gives ranks of shifted images."""
        mean, basis = components.fit(ranks, self.table(steps), self.components)
        classes, numbers = np.unique(labels, return_inverse=True)

        def seen(ranks: np.ndarray) -> np.ndarray:
            return components.transform(ranks, self.table(steps), mean, basis)

        def again(rows: np.ndarray, down: int, right: int) -> np.ndarray:
            if shifted is None:
                raise UserError("option shifts: there are no images to shift here: take 0")
            return seen(shifted(rows, down, right))

        learnt = self._fit(Shown(seen(ranks), numbers, len(classes), again, tell), seed, threads)
        return {"mean": mean, "basis": basis, "classes": classes.astype(np.int64), **learnt}

    def scores(self, arrays: Arrays, ranks: np.ndarray, *, steps: int, classes: int) -> np.ndarray:
        """How near each class is to being the answer, float32 (N, K) from 0 to 1; a class never seen gets 0."""
        seen = components.transform(ranks, self.table(steps), arrays["mean"], arrays["basis"])
        out = np.zeros((len(ranks), classes), np.float32)
        out[:, arrays["classes"]] = self._scores(arrays, seen)
        return out

    def table(self, steps: int) -> np.ndarray:
        """What each rank stands for, float32 (T + 1,)."""
        return ((np.arange(steps + 1) / steps) ** self.power).astype(np.float32)

    def _fit(self, shown: Shown, seed: int, threads: int) -> Arrays:
        raise NotImplementedError

    def _scores(self, arrays: Arrays, seen: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class KernelSVM(Classifier):
    """A support vector machine for each pair of classes; ``cost`` is its C, the kernel exp(-gamma |a - b|^2).

    gamma is 1 / (D * variance of all components), as scikit-learn's "scale". A pair's machine votes for one of its
    classes; among classes of equally many votes the sum of their margins decides. With ``shifts`` the support vectors'
    images are shifted by so many pixels in each of four directions and the machines fitted anew, to these and them
    (virtual support vectors: DeCoste & Schoelkopf 2002). A machine sees those of all machines in its two classes, or
    only its own where these are very many.
    """

    components: int = 200
    cost: float = 2.4
    shifts: int = 0

    def _fit(self, shown: Shown, seed: int, threads: int) -> Arrays:
        seen, numbers = shown.seen, shown.numbers
        gamma = 1 / (seen.shape[1] * max(float(seen.var(dtype=np.float64)), 1e-12))
        pairs = list(combinations(range(shown.classes), 2))

        def machines(parts: list[np.ndarray], begun: float, share: float) -> list[Machine]:
            work = np.cumsum([float(len(rows)) ** 2 for rows in parts])
            found = []
            with ThreadPoolExecutor(threads) as pool:  # libsvm leaves Python's lock alone
                for machine in pool.map(lambda rows: _machine(seen, numbers, rows, self.cost, gamma), parts):
                    shown.tell(begun + share * work[len(found)] / work[-1])
                    found.append(machine)
            return found

        first = FIRST_FIT if self.shifts else 1.0
        found = machines([np.flatnonzero(np.isin(numbers, pair)) for pair in pairs], 0.0, first)
        if self.shifts:
            d, used = self.shifts, _used(found)
            moved = [shown.again(used, *move) for move in ((0, d), (d, 0), (0, -d), (-d, 0))]
            seen, numbers = np.concatenate([seen[used], *moved]), np.tile(numbers[used], 5)
            copies = len(used) * np.arange(5)[:, None]
            near = [
                _near(numbers[: len(used)], pair, np.searchsorted(used, machine.support))
                for pair, machine in zip(pairs, found, strict=True)
            ]
            found = machines([(rows + copies).ravel() for rows in near], first, 1 - first)
        used = _used(found)
        weights = np.zeros((len(used), len(pairs)), np.float32)
        for pair, machine in enumerate(found):
            weights[np.searchsorted(used, machine.support), pair] = machine.coefficients
        offsets = np.array([machine.offset for machine in found], np.float32)
        return {"support": seen[used], "gamma": np.array(gamma), "weights": weights, "offsets": offsets}

    def _scores(self, arrays: Arrays, seen: np.ndarray) -> np.ndarray:
        """Votes, and less than half a vote by the sum of margins, as a share of what there is to win."""
        margins = (
            kernel(seen, arrays["support"], float(arrays["gamma"])) @ arrays["weights"] + arrays["offsets"]
        )
        classes = len(arrays["classes"])
        sides = np.zeros((margins.shape[1], classes), np.float32)
        for pair, (first, second) in enumerate(combinations(range(classes), 2)):
            sides[pair, first], sides[pair, second] = -1, 1
        won = margins > 0
        votes = won @ (sides > 0).astype(np.float32) + ~won @ (sides < 0).astype(np.float32)
        total = margins @ sides
        return (votes + total / (3 * (np.abs(total) + 1)) + 1 / 3) / (classes - 1 / 3)


def kernel(a: np.ndarray, b: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma |a - b|^2), float32 (N, S)."""
    out = a @ b.T
    out *= 2
    out -= (a**2).sum(axis=1)[:, None]
    out -= (b**2).sum(axis=1)
    out *= gamma
    np.minimum(out, 0, out=out)
    return np.exp(out, out=out)


class Machine(NamedTuple):
    """One pair's machine: rows of its support vectors, their coefficients, the offset; above 0 the second class."""

    support: np.ndarray
    coefficients: np.ndarray
    offset: float


def _machine(seen: np.ndarray, numbers: np.ndarray, rows: np.ndarray, cost: float, gamma: float) -> Machine:
    from sklearn.svm import SVC

    svc = SVC(C=cost, gamma=gamma, cache_size=CACHE).fit(seen[rows].astype(np.float64), numbers[rows])
    return Machine(rows[svc.support_], svc.dual_coef_[0], float(svc.intercept_[0]))


def _near(numbers: np.ndarray, pair: tuple[int, int], own: np.ndarray) -> np.ndarray:
    """Support vectors that a pair's machine is fitted to anew: of classes ``numbers``, the rows ``own`` are its own."""
    of_both = np.flatnonzero(np.isin(numbers, pair))
    return own if len(of_both) > CROWD else of_both


def _used(machines: list[Machine]) -> np.ndarray:
    """Rows that are support vectors of some machine."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *(machine.support for machine in machines)]))


@dataclass(frozen=True)
class LinearClassifier(Classifier):
    """A linear support vector machine for each class against the rest; ``cost`` is its C, the loss squared hinge."""

    cost: float = 0.01

    def _fit(self, shown: Shown, seed: int, threads: int) -> Arrays:
        from scipy.sparse import csr_matrix
        from sklearn.svm import LinearSVC

        seen, numbers, classes = shown.seen, shown.numbers, shown.classes
        if classes < 2:
            return {"weights": np.zeros((seen.shape[1], 1), np.float32), "offsets": np.ones(1, np.float32)}
        svc = LinearSVC(C=self.cost, dual=len(seen) < seen.shape[1], random_state=seed)
        svc.fit(csr_matrix(seen, dtype=np.float64), numbers)
        weights, offsets = svc.coef_.T.astype(np.float32), svc.intercept_.astype(np.float32)
        if classes == 2:
            weights, offsets = (
                np.concatenate([-weights, weights], axis=1),
                np.concatenate([-offsets, offsets]),
            )
        return {"weights": weights, "offsets": offsets}

    def _scores(self, arrays: Arrays, seen: np.ndarray) -> np.ndarray:
        """The margins through the logistic function."""
        return 1 / (1 + np.exp(-(seen @ arrays["weights"] + arrays["offsets"])))


@dataclass(frozen=True)
class Neighbours(Classifier):
    """The ``neighbours`` nearest training images vote; of classes with equally many votes the nearer one wins.

    Where there are fewer images, all vote.
    """

    components: int = 200
    neighbours: int = 5

    def _fit(self, shown: Shown, seed: int, threads: int) -> Arrays:
        return {"images": shown.seen, "numbers": shown.numbers.astype(np.int64)}

    def _scores(self, arrays: Arrays, seen: np.ndarray) -> np.ndarray:
        """Shares of the votes; a nearer neighbour has a little more of them, never as much as another vote."""
        images = arrays["images"]
        k = min(self.neighbours, len(images))
        far = (images**2).sum(axis=1) - 2 * (
            seen @ images.T
        )  # squared distance, less what is the same for all
        near = np.argpartition(far, k - 1, axis=1)[:, :k] if k < len(images) else far.argsort(axis=1)
        near = np.take_along_axis(near, np.take_along_axis(far, near, axis=1).argsort(axis=1), axis=1)
        votes = 1 + (k - np.arange(k)) / (k * (k + 1))
        out = np.zeros((len(seen), len(arrays["classes"])), np.float32)
        for place in range(k):
            out[np.arange(len(seen)), arrays["numbers"][near[:, place]]] += votes[place]
        return out / votes.sum()


CLASSIFIERS: dict[str, type[Classifier]] = {"svm": KernelSVM, "linear": LinearClassifier, "knn": Neighbours}
