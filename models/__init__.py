"""The zoo: one file a network. ``list_models()`` names them, ``create_model(name)`` makes one."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from firstspike.classifiers import CLASSIFIERS
from firstspike.errors import UserError
from network_trainer import NetworkTrainer

_NETWORKS: dict[str, type[NetworkTrainer]] = {}
_ALIASES: dict[str, str] = {}


def register(name: str, *aliases: str) -> Callable[[type[NetworkTrainer]], type[NetworkTrainer]]:
    """Class decorator: the network is known by this name and its aliases from now on."""

    def enter(network: type[NetworkTrainer]) -> type[NetworkTrainer]:
        for taken in (name, *aliases):
            if taken in _NETWORKS or taken in _ALIASES:
                raise ValueError(f"model {taken} is registered twice")
        network.name = name
        _NETWORKS[name] = network
        _ALIASES.update(dict.fromkeys(aliases, name))
        return network

    return enter


def list_models() -> list[str]:
    """Names of all networks, sorted."""
    return sorted(_NETWORKS)


def get_model(name: str, readout: str | None = None, layer: str | None = None) -> type[NetworkTrainer]:
    """The class of a network by its name or alias; with a readout, cut behind a layer and read out by a classifier."""
    name = _ALIASES.get(name, name)
    if name not in _NETWORKS:
        raise UserError(f"model {name!r}: choose one of {', '.join(list_models())}")
    if layer is not None and readout is None:
        raise UserError(f"--readout-layer {layer}: give --readout too, one of {', '.join(CLASSIFIERS)}")
    return _NETWORKS[name] if readout is None else _NETWORKS[name].read_out(readout, layer)


def create_model(
    name: str,
    *,
    in_channels: int = 6,
    classes: int = 10,
    image_size: tuple[int, int] = (28, 28),
    steps: int = 15,
    seed: int = 0,
    device: str = "cpu",
    update_batch: int | None = None,
    readout: str | None = None,
    readout_layer: str | None = None,
    **options: Any,
) -> NetworkTrainer:
    """Make a network for latencies of ``in_channels`` maps of ``image_size`` in ``steps`` steps.

    ``device`` is one of torch's; ``update_batch`` images learn at once, 1 being the exact online rule (and the
    default of most). ``readout`` svm, linear or knn takes the place of what comes after ``readout_layer``, or of the
    decision.
    Options change numbers of the description: fields of its rules (``window=20``), of its layers
    (``conv4_threshold=128``).
    """
    return get_model(name, readout, readout_layer)(
        in_channels=in_channels,
        classes=classes,
        image_size=image_size,
        steps=steps,
        seed=seed,
        device=device,
        update_batch=update_batch,
        **options,
    )


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
