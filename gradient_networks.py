"""The families of networks that are trained by gradients: the options of each, and what they make of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from firstspike.errors import UserError
from gradient_trainer import GradientTrainer


def picked(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Some of the settings."""
    return {name: settings[name] for name in names}


def widths(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Units of each hidden layer: one number for all `layers`, or one for each."""
    sizes, layers = settings["hidden_size"], settings["layers"]
    if layers < 1:
        raise UserError(f"option layers: {layers} given, a whole number from 1 needed")
    if len(sizes) not in (1, layers):
        raise UserError(
            f"option hidden_size: {len(sizes)} numbers for {layers} layers; give one, or one a layer"
        )
    return tuple(sizes) if len(sizes) > 1 else (sizes[0],) * layers


def one_or_all(values: Sequence[float]) -> float | tuple[float, ...]:
    """One value for all layers, or one for each."""
    return values[0] if len(values) == 1 else tuple(values)


class DenseTrainer(GradientTrainer):
    """Dense networks of SPSN's and ParaLIF's neurons: (Linear, neuron) x layers, then Linear and an integrator."""

    own: ClassVar[Mapping[str, Any]] = {
        "neuron": "ParaLIF-D",
        "hidden_size": (128,),
        "layers": 3,
        "tau_mem": (2e-2,),
        "tau_syn": (2e-2,),
        "time_step": 1e-3,
        "learn_tau": False,
        "tau_init": "exact",
        "threshold": None,
        "recurrent": False,
        "recurrent_relu": False,
        "surrogate": "fastsig",
        "surrogate_scale": 100.0,
        "delay": 0,
        "delay_kind": "normal",
        "reg_thr": 0.0,
        "reg_thr_recurrent": 0.0,
    }
    neurons: ClassVar[Mapping[str, str]] = {}  # names that mean another neuron here
    same: ClassVar[tuple[str, ...]] = (
        *("threshold", "learn_tau", "tau_init", "recurrent", "recurrent_relu"),
        *("surrogate", "delay", "delay_kind"),
    )

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The dense network over all units of the input."""
        from firstspike.neurons.networks import Dense

        neuron = self.neurons.get(settings["neuron"], settings["neuron"])
        return Dense(
            math.prod(self.shape),
            self.classes,
            neuron,
            hidden=widths(settings),
            tau_mem=one_or_all(settings["tau_mem"]),
            tau_syn=one_or_all(settings["tau_syn"]),
            dt=settings["time_step"],
            scale=settings["surrogate_scale"],
            **picked(settings, *self.same),
        )


class FastTrainer(GradientTrainer):
    """Dense networks of neurons that fire at most once, or of their multi-spike twin; the largest membrane answers.

    Time constants in ms.
    """

    own: ClassVar[Mapping[str, Any]] = {
        "neuron": "single-spike",
        "hidden_size": (200,),
        "layers": 1,
        "skip_connections": True,
        "hidden_tau": 10.0,
        "readout_tau": 20.0,
        "bias": 0.0,
        "surrogate_scale": 100.0,
        "learn_kernel": False,
        "loss_mode": "max",
        "bins": "nearest",
        "polarity": "merged",
    }
    neurons: ClassVar[tuple[str, ...]] = ("single-spike", "LIF")

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The network over all units of the input; its layers are equally wide."""
        from firstspike.neurons.networks import Fast

        if settings["neuron"] not in self.neurons:
            raise UserError(f"unknown neuron {settings['neuron']!r}; choose from {', '.join(self.neurons)}")
        units = widths(settings)
        if len(set(units)) > 1:
            raise UserError(
                f"option hidden_size: {' '.join(map(str, units))} given; all layers are equally wide"
            )
        return Fast(
            math.prod(self.shape),
            self.classes,
            hidden=units[0],
            layers=len(units),
            single_spike=settings["neuron"] == "single-spike",
            tau_hidden=settings["hidden_tau"],
            tau_readout=settings["readout_tau"],
            scale=settings["surrogate_scale"],
            learn_kernel=settings["time_steps"] if settings["learn_kernel"] else None,
            **picked(settings, "skip_connections", "dt", "bias"),
        )
