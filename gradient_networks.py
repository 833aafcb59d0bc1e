"""The families of networks that are trained by gradients: the options of each, and what they make of them."""

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from firstspike.data.timed import Part
from firstspike.errors import UserError
from gradient_trainer import GradientTrainer

if TYPE_CHECKING:  # torch takes a second to import
    from firstspike.neurons.training import Augment, Mix


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


def one_or_all(settings: Mapping[str, Any], name: str) -> float | tuple[float, ...]:
    """A setting as one value for all layers, or one for each and for the readout."""
    values, wanted = settings[name], len(widths(settings)) + 1
    if len(values) not in (1, wanted):
        raise UserError(
            f"option {name}: {len(values)} numbers given; give one, or one a layer and one more: {wanted}"
        )
    return values[0] if len(values) == 1 else tuple(values)


OF_PARALIF = ("threshold", "tau_init", "recurrent_relu", "surrogate", "surrogate_scale", "reg_thr_recurrent")


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
        if neuron.startswith(("SPSN", "Non")) and (idle := [n for n in OF_PARALIF if n in self.options]):
            raise UserError(
                f"option {idle[0]}: {settings['neuron']} has none; choose LIF or a ParaLIF of paralif2024"
            )
        return Dense(
            math.prod(self.shape),
            self.classes,
            neuron,
            hidden=widths(settings),
            tau_mem=one_or_all(settings, "tau_mem"),
            tau_syn=one_or_all(settings, "tau_syn"),
            dt=settings["time_step"],
            scale=settings["surrogate_scale"],
            **picked(settings, *self.same),
        )


class FastTrainer(GradientTrainer):
    """Networks of neurons that fire at most once, or of their multi-spike twin; the largest membrane answers.

    Time constants in ms. `convolutions` are the maps of layers before the dense ones, 0 for none.
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
        "convolutions": (0,),
        "gain": 0.3,
        "loss_mode": "max",
        "bins": "nearest",
        "polarity": "merged",
    }
    neurons: ClassVar[tuple[str, ...]] = ("single-spike", "LIF")

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The network over all units of the input, perhaps behind convolutions; its dense layers are equally wide."""
        from firstspike.neurons.networks import Fast
        from firstspike.neurons.networks_conv import FastConv

        if settings["neuron"] not in self.neurons:
            raise UserError(f"unknown neuron {settings['neuron']!r}; choose from {', '.join(self.neurons)}")
        units = widths(settings)
        if len(set(units)) > 1:
            raise UserError(
                f"option hidden_size: {' '.join(map(str, units))} given; all layers are equally wide"
            )
        dense = Fast(
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
        if settings["convolutions"] == (0,):
            return dense
        return FastConv(self.shape, settings["convolutions"], dense, gain=settings["gain"])


CELL = {  # options of the neurons of convolutional networks, one a channel
    "tau": 2.0,
    "tau_mem": 1e-2,
    "tau_syn": 1e-4,
    "learn_tau": False,
    "tau_init": "exact",
    "threshold": None,
    "recurrent": False,
    "recurrent_relu": False,
    "surrogate_scale": 2.0,
}


def cell_of(settings: Mapping[str, Any], **fixed: Any) -> Any:
    """The neuron of a convolutional network; a synaptic time constant of 0 is none."""
    from firstspike.neurons.networks_conv import Cell

    same = picked(settings, "neuron", *(name for name in CELL if name not in ("tau_syn", "surrogate_scale")))
    return Cell(**same, tau_syn=settings["tau_syn"] or None, scale=settings["surrogate_scale"], **fixed)


class PlifTrainer(GradientTrainer):
    """plif_net on frames (T, P, H, W): convolutions, dense layers, votes whose share of spikes is to be the label."""

    own: ClassVar[Mapping[str, Any]] = {
        **CELL,
        "neuron": "ParaLIF-T",
        "layers": 2,
        "channels": 128,
        "pool": "max",
        "dropout": 0.5,
        "bins": "whole-ticks",
        "loss": "squared-error",
        "loss_mode": "sum",
    }

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The network over square frames; thresholds of modes with a D are 0.01, all are fixed."""
        from firstspike.neurons.networks_conv import PlifNet

        if len(self.shape) != 3 or self.shape[1] != self.shape[2]:
            size = "x".join(map(str, self.shape))
            raise UserError(
                f"samples of {size}: this network sees square frames; give --image-size SIDE or pixels"
            )
        return PlifNet(
            self.shape[1],
            self.classes,
            polarities=self.shape[0],
            cell=cell_of(settings, delta_threshold=0.01),
            **picked(settings, "layers", "channels", "pool", "dropout"),
        )


class ColumnTrainer(GradientTrainer):
    """Images shown column by column to convolutions in space and neurons in time, augmented as CIFAR-10 mostly is."""

    own: ClassVar[Mapping[str, Any]] = {
        **CELL,
        "neuron": "LIF",
        "channels": 128,
        "hidden_units": 256,
        "coding": "columns",
        "normalise": True,
        "data_augmentation": True,
    }

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The network over columns (C, H); thresholds are learnt, LIF resets softly."""
        from firstspike.neurons.networks_conv import ColumnNet

        if len(self.shape) != 2:
            raise UserError(
                f"samples of {self.shape}: this network sees columns of images; give --coding columns"
            )
        cell = cell_of(settings, learn_threshold=True, reset="soft", detach_reset=True)
        colours, rows = self.shape
        return ColumnNet(
            rows, self.classes, settings["channels"], colours, hidden=settings["hidden_units"], cell=cell
        )

    def augmentation(self, part: Part) -> "Augment | None":
        """Mirroring, TrivialAugment and erasing of the images behind the columns."""
        if not self.settings["data_augmentation"]:
            return None
        if not self.settings["normalise"]:
            raise UserError("option data_augmentation: for normalised colours; give --no-data-augmentation")
        from firstspike.neurons.augment import altered_columns

        return lambda x, indices, epoch: altered_columns(x, part.rows[indices], seed=self.seed, epoch=epoch)

    def mixture(self) -> "Mix | None":
        """Mixup or cutmix of whole batches."""
        if not self.settings["data_augmentation"]:
            return None
        from firstspike.neurons.augment import mix_columns

        return partial(mix_columns, classes=self.classes)


class DelayTrainer(GradientTrainer):
    """Networks whose synapses learn their delays: convolutions in time, normalisation, neurons of almost no memory."""

    own: ClassVar[Mapping[str, Any]] = {
        "kind": "snn_delays",
        "neuron": "ParaLIF-T",
        "hidden_size": (256,),
        "layers": 2,
        "taps": 25,
        "dropout": 0.4,
        "position_lr": 0.1,
        "mask_steps": False,
        "mask_channels": False,
        "mix_steps": False,
        "window_size": 1e-2,
        "loss_mode": "cumsum",
    }

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The network over all units of the input; `kind` has learnt, fixed or no delays."""
        from firstspike.neurons.networks_delay import DelayNet

        return DelayNet(
            math.prod(self.shape),
            self.classes,
            widths(settings),
            model=settings["kind"],
            **picked(settings, "neuron", "taps", "dropout"),
        )

    def augmentation(self, part: Part) -> "Augment | None":
        """Runs of steps and of channels that fall silent, after what moves samples, as far as asked for."""
        moved, settings = super().augmentation(part), self.settings
        if not settings["mask_steps"] and not settings["mask_channels"]:
            return moved
        from firstspike.neurons.augment import masked

        steps = settings["taps"] // 3 if settings["mask_steps"] else 0
        channels = math.prod(self.shape) // 5 if settings["mask_channels"] else 0

        def alter(x: np.ndarray, indices: np.ndarray, epoch: int) -> np.ndarray:
            x = x if moved is None else moved(x, indices, epoch)
            return masked(x, part.rows[indices], seed=self.seed, epoch=epoch, steps=steps, channels=channels)

        return alter

    def mixture(self) -> "Mix | None":
        """A run of steps of the next sample in place of one's own, if asked for."""
        if not self.settings["mix_steps"]:
            return None
        from firstspike.neurons.augment import mix_steps

        return partial(mix_steps, classes=self.classes)
