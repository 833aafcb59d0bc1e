"""SpykeTorch's snn module: convolution, pooling and STDP as torch modules without gradients.

T steps, C maps, H rows, W columns; waves (T, C, H, W) or (N, T, C, H, W). State-dict names are SpykeTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from firstspike import functional as core
from firstspike.coding import wave_to_latency
from firstspike.errors import UserError
from firstspike.spyketorch import functional as sf
from firstspike.spyketorch.functional import Winner
from firstspike.spyketorch.utils import to_pair

Winners = Sequence[Winner] | Sequence[Sequence[Winner]]
Rates = tuple[float, float] | list[tuple[float, float]]


def _drawn(*shape: int, mean: float, std: float) -> nn.Parameter:
    """A weight from N(mean, std), not clipped, drawn by torch's generator as scripts that seed it expect."""
    return nn.Parameter(torch.empty(*shape).normal_(mean, std), requires_grad=False)


class _Weighted(nn.Module):
    weight: nn.Parameter

    def reset_weight(self, weight_mean: float = 0.8, weight_std: float = 0.02) -> None:
        """Draw the weights anew from N(mean, std)."""
        self.weight.normal_(weight_mean, weight_std)

    def load_weight(self, target: Tensor) -> None:
        """Copy weights of the same shape."""
        self.weight.copy_(target)


class Convolution(_Weighted):
    """Cross-correlation of each time step, stride 1, no padding, no bias: weight (out, in, kh, kw)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        weight_mean: float = 0.8,
        weight_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = to_pair(kernel_size)
        self.stride, self.bias, self.dilation, self.groups, self.padding = 1, None, 1, 1, 0
        self.weight = _drawn(out_channels, in_channels, *self.kernel_size, mean=weight_mean, std=weight_std)

    def forward(self, input: Tensor) -> Tensor:
        """Potentials of a wave; RuntimeError if its dtype is not the weights' or it is below the kernel."""
        if input.dtype != self.weight.dtype:
            raise RuntimeError(f"a wave of {input.dtype}: convert it first, as with wave.float()")
        return core.convolve(input, self.weight)


class Pooling(nn.Module):
    """Max-pooling: see functional.pooling."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        self.kernel_size = to_pair(kernel_size)
        self.stride = self.kernel_size if stride is None else to_pair(stride)
        self.padding = to_pair(padding)
        self.dilation, self.return_indices, self.ceil_mode = 1, False, False

    def forward(self, input: Tensor) -> Tensor:
        """The earliest spike of each window, if the input is a wave."""
        return sf.pooling(input, self.kernel_size, self.stride, self.padding)


class Linear(_Weighted):
    """Every output sees every input of the last axis, no bias: weight (out, in)."""

    def __init__(
        self, in_features: int, out_features: int, weight_mean: float = 0.8, weight_std: float = 0.02
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = _drawn(out_features, in_features, mean=weight_mean, std=weight_std)

    def forward(self, input: Tensor) -> Tensor:
        """Potentials (..., out) of a wave (..., in)."""
        return nn.functional.linear(input, self.weight)


Flatten = nn.Flatten


class STDP(nn.Module):
    """Spike-timing-dependent plasticity of a convolution's weights: see firstspike.functional.stdp.

    learning_rate: one pair (ltp, ltd) for all maps, or a list with a pair for each map; ltd with its sign.
    The rule of punishment is the same with ltp < 0 < ltd. `layer` is another name for conv_layer, here and in
    state dicts.
    """

    def __init__(
        self,
        conv_layer: Convolution | Linear | None = None,
        learning_rate: Rates | None = None,
        use_stabilizer: bool = True,
        lower_bound: float = 0,
        upper_bound: float = 1,
        *,
        layer: Convolution | Linear | None = None,
    ) -> None:
        super().__init__()
        self.conv_layer = layer if conv_layer is None else conv_layer
        if self.conv_layer is None:
            raise UserError("STDP without a layer: give the convolution that learns")
        for i, (ltp, ltd) in enumerate(_pairs(learning_rate, maps=len(self.conv_layer.weight))):
            self.register_parameter(f"ltp_{i}", _rate(ltp))
            self.register_parameter(f"ltd_{i}", _rate(ltd))
        self.use_stabilizer = use_stabilizer
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound

    @property
    def layer(self) -> Convolution | Linear:
        """The layer that learns."""
        return self.conv_layer

    @property
    def learning_rate(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """The pair (ltp, ltd) of each map, the registered Parameters themselves."""
        maps = range(len(self.conv_layer.weight))
        return [(getattr(self, f"ltp_{i}"), getattr(self, f"ltd_{i}")) for i in maps]

    def update_learning_rate(self, feature: int, ap: float, an: float) -> None:
        """Set the pair of one map."""
        ltp, ltd = self.learning_rate[feature]
        ltp.fill_(ap)
        ltd.fill_(an)

    def update_all_learning_rate(self, ap: float, an: float) -> None:
        """Set the pair of all maps."""
        for feature in range(len(self.conv_layer.weight)):
            self.update_learning_rate(feature, ap, an)

    def get_pre_post_ordering(
        self, input_spikes: Tensor, output_spikes: Tensor, winners: Winners
    ) -> list[Tensor] | list[list[Tensor]]:
        """For each winner, whether each of its inputs fired no later than it: bool (in, kh, kw).

        input_spikes is the convolution's input, already padded. UserError if a winner is none of its neurons.
        """
        images = self._by_image(winners, input_spikes)
        seen, fired = (wave_to_latency(self._batch(wave)) for wave in (input_spikes, output_spikes))
        table = self._table(images, seen)
        early = core.fired_in_time(seen, fired, table.clamp(min=0), kernel=self._kernels.shape[2:])
        chosen = [list(each[: len(image)]) for each, image in zip(early, images, strict=True)]
        return chosen if self._is_batch(input_spikes) else chosen[0]

    def forward(
        self,
        input_spikes: Tensor,
        potentials: Tensor,
        output_spikes: Tensor,
        winners: Winners | None = None,
        kwta: int = 1,
        inhibition_radius: int = 0,
    ) -> None:
        """One learning step, in place; also without a winner it clips all weights to the bounds.

        Winners are found by functional.get_k_winners if not given; of two in one map the last counts. For a
        batch, a list of winners for each image, whose updates are summed.
        """
        if winners is None:
            waves, spikes = self._batch(potentials), self._batch(output_spikes)
            images = sf.get_k_winners(waves, kwta, inhibition_radius, spikes)
        else:
            images = [_last_of_each_map(image) for image in self._by_image(winners, input_spikes)]
        seen, fired = (wave_to_latency(self._batch(wave)) for wave in (input_spikes, output_spikes))
        table = self._table(images, seen)
        maps = table[..., 0].clamp(min=0)
        ltp, ltd = (torch.cat(rates)[maps] for rates in zip(*self.learning_rate, strict=True))
        rule = {"lower": self.lower_bound, "upper": self.upper_bound, "stabilise": self.use_stabilizer}
        weight = core.stdp(self._kernels, seen, fired, table, ltp=ltp, ltd=ltd, **rule)
        self.conv_layer.weight.copy_(weight.view_as(self.conv_layer.weight))

    @property
    def _kernels(self) -> Tensor:
        """(out, in, kh, kw), for a linear layer kernels of one cell."""
        weight = self.conv_layer.weight
        return weight[..., None, None] if weight.dim() == 2 else weight

    def _is_batch(self, waves: Tensor) -> bool:
        return waves.dim() == (3 if self.conv_layer.weight.dim() == 2 else 5)

    def _batch(self, waves: Tensor) -> Tensor:
        """(N, T, C, H, W); a linear layer's (T, in) or (N, T, in) has maps of one cell."""
        waves = waves if self._is_batch(waves) else waves.unsqueeze(0)
        return waves[..., None, None] if self.conv_layer.weight.dim() == 2 else waves

    def _by_image(self, winners: Winners, waves: Tensor) -> list[list[Winner]]:
        images = winners if self._is_batch(waves) else [winners]
        if self._is_batch(waves) and len(images) != len(waves):
            raise UserError(f"winners of {len(images)} images for {len(waves)}: give a list for each image")
        return [[tuple(map(int, winner)) for winner in image] for image in images]

    def _table(self, images: list[list[Winner]], seen: Tensor) -> Tensor:
        """Winners as int64 (N, K, 3), -1 where an image has fewer."""
        maps, _, rows, cols = self._kernels.shape
        limits = (maps, seen.shape[2] - rows + 1, seen.shape[3] - cols + 1)
        for winner in (winner for image in images for winner in image):
            if not all(0 <= place < limit for place, limit in zip(winner, limits, strict=True)):
                size = "{} maps of {}x{}".format(*limits)
                raise UserError(f"winner {winner}: on this input the layer has {size}")
        most = max(map(len, images))
        padded = [[*image, *[(-1, -1, -1)] * (most - len(image))] for image in images]
        return torch.tensor(padded, dtype=torch.int64, device=seen.device).view(len(images), most, 3)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key in [key for key in state_dict if key.startswith(f"{prefix}layer.")]:
            state_dict[f"{prefix}conv_layer.{key.removeprefix(f'{prefix}layer.')}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _pairs(rates: Rates | None, *, maps: int) -> list[tuple[float, float]]:
    """A pair of rates for each map."""
    pairs = rates if isinstance(rates, list) else [rates] * maps
    if len(pairs) != maps or any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in pairs):
        raise UserError(
            f"learning_rate={rates!r}: give a pair (ltp, ltd), or a list of one for each of {maps} maps"
        )
    return list(pairs)


def _last_of_each_map(winners: list[Winner]) -> list[Winner]:
    return list({winner[0]: winner for winner in winners}.values())


def _rate(value: float | Tensor) -> nn.Parameter:
    return nn.Parameter(torch.tensor([float(value)]), requires_grad=False)
