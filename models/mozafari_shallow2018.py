"""Mozafari et al. 2018, First-spike-based visual categorization using reward-modulated STDP (IEEE TNNLS 29).

One layer over oriented edges, ten maps a class; the first to fire answers. By default the network of the published
tutorial, for two classes; the other three are those of the paper's data sets, as released.
"""

from firstspike.layers import LARGEST, WHOLE, Conv, Decision, FlooredRSTDP, Phase, Pool
from models import register
from network_trainer import NetworkTrainer

TUTORIAL = FlooredRSTDP(0.05, -0.015, -0.05, 0.0005, adaptive_min=1.0)
CALTECH = FlooredRSTDP(0.005, -0.0025, -0.005, 0.0005, window=LARGEST)
ETH80 = FlooredRSTDP(0.01, -0.0035, -0.01, 0.0006, window=LARGEST)
NORB = FlooredRSTDP(0.05, -0.003, -0.05, 0.0005, window=LARGEST)


@register("mozafari_shallow2018")
class MozafariShallow2018(NetworkTrainer):
    """Gabor window 3, pooled behind the rank code; the layer sees the whole field; constant rates."""

    filters = "gabor3"
    layers = (Pool(3, 2), Conv("decision", 0, WHOLE, threshold=20, std=0.02))
    plan = (Phase("decision", {"decision": TUTORIAL}, epochs=20),)
    decision = Decision(group=10)


@register("mozafari_shallow2018_caltech")
class MozafariShallow2018Caltech(MozafariShallow2018):
    """Faces and motorbikes: 17x17 windows slide over the image; 98.9 % in the paper."""

    filters = "gabor-caltech"
    layers = (Conv("decision", 0, kernel=17, threshold=42),)
    plan = (Phase("decision", {"decision": CALTECH}, epochs=400, dropout=0.5),)


@register("mozafari_shallow2018_eth80")
class MozafariShallow2018ETH80(MozafariShallow2018):
    """Eight classes in images of 128x128; 89.5 % in the paper."""

    filters = "gabor-eth80"
    layers = (Conv("decision", 0, WHOLE, threshold=160),)
    plan = (Phase("decision", {"decision": ETH80}, epochs=250, dropout=0.4),)


@register("mozafari_shallow2018_norb")
class MozafariShallow2018NORB(MozafariShallow2018):
    """Five classes in images of 96x96, coded in 30 steps; 88.4 % in the paper."""

    filters = "gabor-norb"
    layers = (Conv("decision", 0, WHOLE, threshold=150),)
    plan = (Phase("decision", {"decision": NORB}, epochs=800, dropout=0.5),)
