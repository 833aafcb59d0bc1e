"""A finished run opened again from its folder alone: the network from its checkpoint, images by number or file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from firstspike import checkpoint
from firstspike.coding import BANKS, encode_compiled
from firstspike.data import Dataset, load
from firstspike.describe import from_plain
from firstspike.engine import Engine
from firstspike.errors import UserError
from firstspike.report.film import Journey


def load_best(run: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The state of a run's best network, or of the last where there is no best yet, and what its checkpoint says."""
    places = [run / "checkpoints" / f"{name}.safetensors" for name in ("best", "last")]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise UserError(f"{run}: no checkpoint here: give the folder of a run of train.py")
    state, meta = checkpoint.load(place)
    if "network" not in meta:
        raise UserError(f"{place}: does not say what network it is of: train it anew")
    return state, meta


def open_network(run: Path) -> tuple[Engine, dict[str, Any]]:
    """The best network of a run, and what its checkpoint says."""
    state, meta = load_best(run)
    return rebuilt(run, state, meta), meta


def rebuilt(run: Path, state: dict[str, np.ndarray], meta: Mapping[str, Any]) -> Engine:
    """The network of a checkpoint; UserError for one without layers of latencies."""
    made = meta["network"]
    if "description" not in made:
        raise UserError(
            f"{run}: {meta['model']} has no layers of latencies: give a run of a convolutional network"
        )
    description = from_plain(made["description"])
    engine = Engine(
        description.layers,
        description.phases,
        description.decision,
        shape=tuple(made["shape"]),
        steps=made["steps"],
        seed=0,
    )
    engine.load_state(state)
    return engine


def open_journeys(run: Path) -> Callable[[str], Journey]:
    """Journeys through a run's network: by the number of a test image, or by an image file."""
    engine, meta = open_network(run)
    settings = meta["settings"]
    dataset = load(settings["dataset"], settings.get("data_dir"), image_size=settings.get("image_size"))

    def journey(image: str) -> Journey:
        picture, caption = _picture(image, dataset)
        latencies = picture if dataset.latency_steps else _encoded(picture, meta["network"]["encoder"])
        return Journey(
            np.moveaxis(picture, 0, -1) if picture.ndim == 3 else picture,
            {"input": latencies} | _stages(engine, latencies),
            engine.steps,
            dict(zip(dataset.class_names, engine.scores(latencies[None])[0].tolist(), strict=True)),
            caption,
        )

    return journey


def _stages(engine: Engine, latencies: np.ndarray) -> dict[str, np.ndarray]:
    """Latencies of every layer that fires by time."""
    layers = [name for name in engine.nodes if name not in engine.decision.heads]
    return {name: engine.features(latencies[None], name)[0] for name in layers}


def _encoded(picture: np.ndarray, encoder: Mapping[str, Any]) -> np.ndarray:
    planes = picture if picture.ndim == 3 else picture[None]
    return encode_compiled(planes[None], BANKS[encoder["filters"]](), steps=encoder["steps"])[0]


def _picture(image: str, dataset: Dataset) -> tuple[np.ndarray, str]:
    """An image uint8 (H, W) or (C, H, W) by its number in the test set or from a file, and what to call it."""
    if image.isdigit():
        if int(image) >= len(dataset.test_images):
            raise UserError(
                f"image {image}: {dataset.name} has test images 0 to {len(dataset.test_images) - 1}"
            )
        label = dataset.class_names[dataset.test_labels[int(image)]]
        return dataset.test_images[int(image)], f"{dataset.name} test image {image}, label {label}"
    from PIL import Image

    try:
        with Image.open(image) as file:
            opened = file.convert("RGB" if dataset.channels == 3 else "L").resize(dataset.image_size[::-1])
    except OSError as error:
        raise UserError(
            f"image {image}: neither a number nor an image file that can be read ({error})"
        ) from error
    pixels = np.asarray(opened)
    return np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels, Path(image).name
