"""A fixed skip layer beside the third (aidinattar/snn, 2024)."""

from firstspike.layers import Branches, Conv, Pool
from models import register
from models.deep2024 import CONV1, CONV2, CONV3, Deep2024
from network_trainer import NetworkTrainer


@register("resnet2024")
class ResNet2024(NetworkTrainer):
    """conv2's spikes reach the decision layer through conv3 and past it.

    The untrained 1x1 skip layer fires as soon as any input at its place has; the average of a 0/1 wave over 2x2 places
    is above 0 where any is 1, so the original's interpolation is a pooling. Joined latencies are the earlier ones,
    unless option ``join`` says otherwise.
    """

    layers = (
        CONV1,
        Pool(2),
        CONV2,
        Branches(
            ((Pool(2), CONV3), (Conv("skip", 250, kernel=1, threshold=0), Pool(2))),
            join="earliest",
        ),
        Pool(3),
        Conv("decision", 0, kernel=4, pad=2),
    )
    plan = Deep2024.plan
