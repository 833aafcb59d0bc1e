"""A gradient-trained network in the form in which the zoo's training loop, checkpoints and command know a network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from firstspike.buffers import POOL
from firstspike.layers import WholePhase
from firstspike.neurons.base import Activity
from firstspike.neurons.optimisation import Recipe
from firstspike.neurons.training import PHASE, Augment, Epoch, GradientEngine, Mix, Source, as_source

EPOCH = "epoch"  # of the state: how many epochs have been trained


class TrainedNetwork:
    """A network that learns by gradients, from a source of samples (N, T, *shape); see `training.GradientEngine`.

    Its layers are the hidden ones, from the input upwards. `workers` is for the loop's sake: threads are torch's.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        shape: tuple[int, ...],
        seed: int = 0,
        device: str = "cpu",
        epochs: int | None = None,
    ) -> None:
        self.engine = GradientEngine(network, recipe, seed=seed, device=device)
        self.shape = shape
        self.phases = {PHASE: WholePhase(PHASE, recipe.epochs if epochs is None else epochs)}
        self.neurons = tuple(network.neurons)
        self.maps = feed_forward(network)[: len(self.neurons)]
        self.layers = tuple(f"hidden{k + 1}" for k in range(len(self.maps)))
        self.workers = 1

    def phase(self, name: str) -> WholePhase:
        """The phase of this name."""
        return self.phases[name]

    def learning(self, phase: str) -> list[str]:
        """The layers that learn in a phase."""
        return list(self.layers)

    def convergence(self) -> dict[str, float]:
        """Nothing: these weights have no bounds to settle at."""
        return {}

    def rates(self) -> dict[str, float]:
        """Learning rates in force, by group of parameters."""
        return {group["name"]: float(group["lr"]) for group in self.engine.optimiser.param_groups}

    def weights(self, layer: str) -> np.ndarray:
        """A copy of a hidden layer's feed-forward weights, float32 (units, inputs, ...)."""
        return self.maps[self.layers.index(layer)].weight.detach().cpu().numpy().copy()

    def fit_phase(
        self,
        phase: str,
        inputs: Source | np.ndarray,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        augment: Augment | None = None,
        mix: Mix | None = None,
        progress: Callable[[int, int, int], None] | None = None,
    ) -> Epoch:
        """One epoch; `progress(done, right, silent)` hears of samples done and how many of the last are right."""
        before = 0

        def tell(done: int, right: int) -> None:
            nonlocal before
            progress(done, right - before, 0)
            before = right

        return self.engine.fit_phase(
            phase, inputs, labels, order=order, augment=augment, mix=mix, progress=progress and tell
        )

    def evaluate(self, inputs: Source | np.ndarray, labels: np.ndarray | None = None) -> Epoch:
        """The figures of an epoch without learning."""
        return self.engine.evaluate(inputs, labels)

    def answers_from(self, phase: str, inputs: Source | np.ndarray) -> np.ndarray:
        """Classes int64 (N,) from what the phase sees, which are the samples."""
        return self.predict(inputs)

    def predict(self, inputs: Source | np.ndarray) -> np.ndarray:
        """Classes int64 (N,)."""
        return self.engine.predict(inputs)

    def scores(self, inputs: Source | np.ndarray) -> np.ndarray:
        """Class scores float32 (N, classes)."""
        return self.engine.scores(inputs)

    def activities(self, inputs: Source | np.ndarray) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """What some samples do: input (N, T, ...), spikes of each hidden layer (N, T, ...), potentials (N, T, C)."""
        source = as_source(inputs, None, need_labels=False)
        x = torch.from_numpy(POOL.aligned(source.batch(np.arange(len(source))))).float()
        self.engine.network.eval()
        with torch.no_grad():
            output = self.engine.network(x.to(self.engine.device), seed=self.engine.seed)
        layers: list[Activity] = list(output.layers)
        return x.numpy(), [layer.output.cpu().numpy() for layer in layers], output.potentials.cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        """Everything that learning changes, by name, the optimiser's tensors among it; copies."""
        tensors, counters = self.engine.state()
        return tensors | {EPOCH: np.array(counters[EPOCH], np.int64)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        tensors = {name: array for name, array in state.items() if name != EPOCH}
        self.engine.load_state(tensors, {EPOCH: int(state.get(EPOCH, 0))})


def feed_forward(network: nn.Module) -> list[Any]:
    """The maps of a network with weights (units, inputs, ...), from the input upwards, feedback left out."""
    found = []
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim > 1 and not name.startswith("neurons"):
            found.append(module)
    return found
