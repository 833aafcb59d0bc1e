"""Rezghi Shirsavar & Dehaqani 2022, A faster approach to spiking deep convolutional neural networks (2210.17442)."""

from firstspike.classifiers import KernelSVM
from firstspike.layers import BatchSTDP, Conv, Decision, Fitted, Phase, Pool, Readout
from models import register
from network_trainer import NetworkTrainer

START = {"mean": 0.5, "std": 0.02}
LARGE = BatchSTDP(0.0004, -0.0003, doubling_period=2000, ltp_ceiling=1.5, growth=1.5)


@register("shirsavar2022")
class Shirsavar2022(NetworkTrainer):
    """Two binary STDP layers that learn in mini-batches of 64; a kernel machine decides by when they fire.

    99.23 to 99.35 % on MNIST in the tutorials of the authors' library, which do not shift images: ``shifts=0``.
    """

    filters = "log"
    update_batch = 64
    layers = (
        Conv("conv1", 50, kernel=5, threshold=16, pad=2, k=5, radius=3, binary=True, **START),
        Pool(2),
        Conv("conv2", 100, kernel=3, threshold=5, pad=1, k=8, radius=1, binary=True, **START),
        Pool(3),
        Readout("decision", KernelSVM(shifts=1)),
    )
    plan = (
        Phase("conv1", {"conv1": BatchSTDP()}, epochs=1),
        Phase("conv2", {"conv2": BatchSTDP()}, epochs=1),
        Phase("decision", {"decision": Fitted()}, epochs=1),
    )
    decision = Decision(group=1)


@register("shirsavar2022_large")
class Shirsavar2022Large(Shirsavar2022):
    """Twice the maps, other scales, slowly growing rates, weights as they are learnt: the library's larger example."""

    filters = "log-large"
    layers = (
        Conv("conv1", 100, kernel=5, threshold=16, pad=2, k=5, radius=3, **START),
        Pool(2),
        Conv("conv2", 200, kernel=3, threshold=5, pad=1, k=8, radius=1, **START),
        Pool(3),
        Readout("decision", KernelSVM(shifts=1)),
    )
    plan = (
        Phase("conv1", {"conv1": LARGE}, epochs=1),
        Phase("conv2", {"conv2": LARGE}, epochs=1),
        Phase("decision", {"decision": Fitted()}, epochs=1),
    )
