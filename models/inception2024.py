"""Three kernel sizes side by side (aidinattar/snn, 2024)."""

from firstspike.layers import RSTDP, STDP, Branches, Conv, Phase, Pool
from models import register
from models.deep2024 import CONV1, DECISION
from network_trainer import NetworkTrainer

KERNELS = {"conv3_1": 3, "conv3_2": 5, "conv3_3": 7}


@register("inception2024")
class Inception2024(NetworkTrainer):
    """Branches of kernel 3, 5 and 7 see the same input; padded to one size, they are joined along their maps."""

    layers = (
        CONV1,
        Pool(2),
        Conv("conv2", 75, kernel=3, threshold=10, pad=1, k=8, radius=1),
        Pool(2),
        Branches(
            tuple(
                (Conv(name, 100, kernel, threshold=50, pad=1, k=15, radius=1),)
                for name, kernel in KERNELS.items()
            ),
            pads=tuple((kernel - 3) // 2 for kernel in KERNELS.values()),
        ),
        Pool(3),
        DECISION,
    )
    plan = (
        Phase("conv1", {"conv1": STDP()}, epochs=2),
        Phase("conv2", {"conv2": STDP()}, epochs=4),
        *(Phase(name, {name: STDP()}, epochs=4, counted_as="conv3") for name in KERNELS),
        Phase("decision", {"decision": RSTDP()}, epochs=10),
    )
