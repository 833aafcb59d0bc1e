"""Networks cut behind one of their layers, with a classical classifier in place of what comes after."""

from firstspike.classifiers import Classifier
from firstspike.description import Description
from firstspike.errors import UserError
from firstspike.layers import Branches, Conv, Decision, Fitted, Layer, Phase, Pool, Readout, walk

HEAD = "decision"


def read_out(description: Description, classifier: Classifier, layer: str | None = None) -> Description:
    """The network up to a layer and the pooling behind it, or up to its decision, read out by a classifier.

    Phases in which a layer takes part that falls away fall away too.
    """
    heads = description.decision.heads
    there = [inner.name for inner in walk(description.layers) if isinstance(inner, Conv)]
    below = [name for name in there if name not in heads]
    if not below:
        raise UserError("readout: this network has no layer before its decision: choose another model")
    if layer is not None and layer not in below:
        raise UserError(f"readout layer {layer}: this network has {', '.join(below)}")
    kept = up_to(description.layers, layer or heads[0], inclusive=layer is not None)
    names = {inner.name for inner in walk(kept) if isinstance(inner, Conv)}
    phases = tuple(phase for phase in description.phases if set(phase.rules) <= names)
    reading = Phase(HEAD, {HEAD: Fitted()}, epochs=1)
    return Description((*kept, Readout(HEAD, classifier)), (*phases, reading), Decision((HEAD,), group=1))


def up_to(layers: tuple[Layer, ...], name: str, *, inclusive: bool) -> tuple[Layer, ...]:
    """The layers in front of one, or up to it and the pooling behind it; of branches only the path that it is in."""
    for position, layer in enumerate(layers):
        if isinstance(layer, Branches):
            for path in layer.paths:
                if name in [getattr(inner, "name", None) for inner in walk(path)]:
                    return (*layers[:position], *up_to(path, name, inclusive=inclusive))
        elif getattr(layer, "name", None) == name:
            if not inclusive:
                return layers[:position]
            behind = layers[position + 1 : position + 2]
            return layers[: position + 1] + tuple(after for after in behind if isinstance(after, Pool))
    raise UserError(f"layer {name}: not in this network")
