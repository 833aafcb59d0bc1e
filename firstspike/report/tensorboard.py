"""A run in TensorBoard: curves, features, histograms, activation maps, projector, settings."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from firstspike.files import make_folder
from firstspike.report import plots
from firstspike.report.activation import NEVER, coloured, steps_of, timed
from firstspike.report.callbacks import Callback, Result, Run
from firstspike.report.records import Embedding, EpochRecord

_FIGURES = {
    "accuracy/training": "accuracy",
    "accuracy/validation": "validation_accuracy",
    "loss/training": "loss",
    "silent/training": "silent",
    "silent/validation": "validation_silent",
    "speed/images_per_second": "images_per_second",
    "speed/seconds": "seconds",
}
_NAMED = {
    "test_accuracy": "accuracy/test",
    "validation_loss": "loss/validation",
}  # further figures with a place


class TensorBoard(Callback):
    """Writes event files into `folder`; the x axis counts the run's epochs over all phases.

    A resumed run says how many epochs are `done`, so that what an interrupted epoch wrote is dropped.
    """

    def __init__(self, folder: str | os.PathLike[str], *, done: int = 0) -> None:
        self.folder, self._step = make_folder(folder), done

    def on_run_start(self, run: Run) -> None:
        """Open the files; show the layers and the starting weights."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        purge = self._step + 1 if self._step else None
        self._writer = SummaryWriter(str(self.folder), purge_step=purge)
        self._writer.add_text("layers", markdown_table(run.layer_table), self._step)
        if not self._step:
            self._add_layers(run.network.layers)

    def on_epoch(self, record: EpochRecord) -> None:
        """Curves, and the layers that the phase teaches."""
        self._step += 1
        scalars = {tag: getattr(record, name) for tag, name in _FIGURES.items()}
        scalars |= {f"rates/{name}": rate for name, rate in record.rates.items()}
        scalars |= {f"convergence/{layer}": value for layer, value in record.convergence.items()}
        scalars |= {_NAMED.get(name, f"cost/{name}"): value for name, value in record.figures.items()}
        for tag, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(tag, value, self._step)
        self._add_layers(self._run.network.layers)
        self._writer.flush()

    def on_phase_end(self, phase: str) -> None:
        """When each neuron fires for the first image of the sample."""
        activity = timed({layer: self._run.activity(layer) for layer in self._run.network.layers})
        steps = steps_of(activity)
        for layer, latencies in activity.items():
            self._add_image(f"activation/{layer}", plots.sheet(coloured(latencies[0], steps)))

    def on_run_end(self, result: Result) -> None:
        """Confusion matrix, projector, and the settings beside what they led to."""
        figures = {}
        if result.answers is not None:
            metrics = result.answers.metrics()
            self._add_image("confusion_matrix", plots.pixels(plots.confusion_matrix(metrics)))
            figures = {"final/accuracy": metrics.accuracy, "final/silent": metrics.silent / metrics.images}
        self._add_embedding(self._run.embedding())
        self._add_settings(figures)
        self._writer.close()

    def _add_layers(self, layers: Sequence[str]) -> None:
        """Weights and spikes of each layer; the features of the first as a picture."""
        for layer in layers:
            self._writer.add_histogram(f"weights/{layer}", self._run.network.weights(layer), self._step)
            fired = self._run.activity(layer) != NEVER
            self._writer.add_scalar(f"spikes_per_image/{layer}", fired.sum() / len(fired), self._step)
        features = plots.mosaic(self._run.features(layers[0]))
        self._add_image(f"features/{layers[0]}", features)

    def _add_image(self, tag: str, picture: np.ndarray) -> None:
        """A picture uint8 (H, W, 3); small ones are enlarged, since TensorBoard shows them as they are."""
        times = max(1, 480 // picture.shape[1])
        large = picture.repeat(times, axis=0).repeat(times, axis=1)
        self._writer.add_image(tag, large, self._step, dataformats="HWC")

    def _add_embedding(self, embedding: Embedding) -> None:
        from torch import from_numpy

        pictures = embedding.thumbnails
        pictures = np.moveaxis(pictures, -1, 1) if pictures.ndim == 4 else pictures[:, None]
        self._writer.add_embedding(
            from_numpy(np.asarray(embedding.features, np.float32)),
            metadata=[str(label) for label in embedding.labels],
            label_img=from_numpy(pictures.astype(np.float32) / 255),
            global_step=self._step,
            tag="hidden",
        )

    def _add_settings(self, figures: Mapping[str, float]) -> None:
        """The HParams page: written into this run itself, where add_hparams would open another."""
        from torch.utils.tensorboard.summary import hparams

        for part in hparams(flat_settings(self._run.settings), dict(figures)):
            self._writer.file_writer.add_summary(part)
        for tag, value in figures.items():
            self._writer.add_scalar(tag, value, self._step)


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings as one level of numbers and strings: {"a": {"b": 2}} -> {"a.b": 2}."""
    flat: dict[str, bool | int | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
