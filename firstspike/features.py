"""Any layer of a network as a scikit-learn transformer: images in, when neurons fire out.

from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
machine = make_pipeline(SpikingFeatures(create_model("mozafari2018"), layer="conv2", as_="rank"), LinearSVC(C=0.01))
machine.fit(images, labels).score(test_images, test_labels)

N images, H, W their size, F features of each.
"""

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from firstspike import threads
from firstspike.backend import Backend
from firstspike.classifiers import LinearClassifier
from firstspike.coding import BANKS, encode_compiled
from firstspike.data.splits import order
from firstspike.description import Description
from firstspike.engine import Engine
from firstspike.errors import UserError
from firstspike.latencies import pool_latency
from firstspike.layers import Pool
from firstspike.network import FEATURES
from firstspike.read_out import HEAD, read_out
from firstspike.readout_layer import ranks

STEPS = 15  # of a model that is a Description alone
LEAST = 8  # pixels a side; smaller images get a blank frame


class SpikingFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Train a network up to a layer on images, and give that layer's activity as features (N, F).

    ``model`` is a network (``create_model(...)``), never changed, or a Description. X is images (N, H, W) or (N, H*W),
    square unless (N, H, W), filled up with blank pixels, or latencies uint8 (N, C, H, W) of the model's steps. Pixels
    other than uint8 are scaled so that those of the training images span 0 to 255.

    ``as_``: "latency", step of the first spike, 255 never; "rank", steps - latency, 0 never; both uint8; "potential" at
    the last step, float32. ``pooled``: by the pooling behind the layer, if there is one. ``epochs`` of each phase; the
    model's own by default; 0 takes the weights that the model has. Learning starts from draws of ``seed``.
    """

    def __init__(
        self,
        model: Any,
        *,
        layer: str = "conv2",
        as_: str = "rank",
        pooled: bool = True,
        epochs: int | None = None,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.model, self.layer, self.as_, self.pooled = model, layer, as_, pooled
        self.epochs, self.seed, self.n_jobs = epochs, seed, n_jobs

    def fit(self, X: Any, y: Any = None) -> "SpikingFeatures":
        """Learn the layers up to the one asked for; labels are not used."""
        if self.as_ not in FEATURES:
            raise UserError(f"features as {self.as_!r}: choose one of {', '.join(FEATURES)}")
        X = np.asarray(X) if isinstance(X, list) else X
        self.sample_shape_ = X.shape[1:] if getattr(X, "ndim", 2) > 2 else None
        X = validate_data(self, flat(X), ensure_min_features=1)
        self.low_, self.high_ = (0, 255) if X.dtype == np.uint8 else (float(X.min()), float(X.max()))
        latencies = self._latencies(X)
        self.engine_ = self._engine(latencies.shape[1:])
        for phase in list(self.engine_.phases.values())[:-1]:
            epochs = phase.epochs if self.epochs is None else self.epochs
            seen = self.engine_.inputs(phase.name, latencies) if epochs else None
            for epoch in range(epochs):
                sequence = order(len(seen), seed=self.seed, phase=phase.name, epoch=epoch)
                self.engine_.fit_phase(phase.name, seen, from_inputs=True, order=sequence)
        self._n_features_out = self._features(latencies[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The layer's activity for images of the size it was fitted to, (N, F)."""
        check_is_fitted(self)
        return self._features(self._latencies(validate_data(self, flat(X), reset=False)))

    def _latencies(self, X: np.ndarray) -> np.ndarray:
        """Latencies uint8 (N, C, H, W) of images (N, H*W), or those latencies themselves."""
        if self.sample_shape_ is not None and len(self.sample_shape_) == 3:
            return X.reshape(-1, *self.sample_shape_)
        if X.dtype != np.uint8:
            scale = 255 / (self.high_ - self.low_) if self.high_ > self.low_ else 0.0
            X = np.clip((X - self.low_) * scale, 0, 255).astype(np.float32)
        images = framed(X, self.sample_shape_)
        bank, steps = BANKS[self._of_model("filters", "dog")](), self._of_model("steps", STEPS)
        return encode_compiled(images[:, None], bank, steps=steps, threads=self._threads())

    def _engine(self, shape: tuple[int, ...]) -> Engine:
        """The network up to the layer, for latencies of a shape; its decision is never asked."""
        whole = self.model if isinstance(self.model, Description) else self.model.describe()
        part = read_out(whole, LinearClassifier(), self.layer).for_classes(1)
        *layers, reader = part.layers
        if not self.pooled and isinstance(layers[-1], Pool):
            del layers[-1]
        engine = Engine(
            (*layers, reader),
            part.phases,
            part.decision,
            shape=shape,
            steps=self._of_model("steps", STEPS),
            seed=self.seed,
            workers=self._threads(),
            backend=self._of_model("backend", Backend()),
        )
        if self.epochs == 0 and self.model is not whole:
            for name in engine.nodes:
                engine.set_weights(name, self.model.weights(name))
        return engine

    def _features(self, latencies: np.ndarray) -> np.ndarray:
        engine, behind = self.engine_, self.engine_.layers[-2]
        if self.as_ == "potential":
            potentials = engine.features(latencies, self.layer, "potential")
            if isinstance(behind, Pool):
                potentials = -pool_latency(-potentials, behind)
            return potentials.reshape(len(latencies), -1)
        seen = engine.before(HEAD, engine.check(latencies)).reshape(len(latencies), -1)
        return seen if self.as_ == "latency" else ranks(seen, engine.steps)

    def _of_model(self, name: str, otherwise: Any) -> Any:
        return getattr(self.model, name, otherwise)

    def _threads(self) -> int:
        """As ``n_jobs`` counts them: None one, -1 all."""
        return threads.available() if self.n_jobs == -1 else self.n_jobs or 1

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_n_features_out")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.three_d_array = True
        return tags


def flat(X: Any) -> Any:
    """Samples of more than one axis as rows; everything else as it is."""
    X = np.asarray(X) if isinstance(X, list) else X
    return X.reshape(len(X), math.prod(X.shape[1:])) if getattr(X, "ndim", 2) > 2 else X


def framed(X: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Rows (N, F) as images (N, H, W): of a shape, or the square that holds them; at least 8 x 8, blank around."""
    side = math.ceil(math.sqrt(X.shape[1]))
    height, width = shape or (side, side)
    filled = np.pad(X, ((0, 0), (0, height * width - X.shape[1]))).reshape(-1, height, width)
    frame = [(max(LEAST - size, 0) // 2, max(LEAST - size + 1, 0) // 2) for size in (height, width)]
    return np.pad(filled, ((0, 0), *frame))
