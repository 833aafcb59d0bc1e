"""The processes of a data-parallel run, or the one process of an ordinary one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed, nn
from torch.autograd.function import FunctionCtx

from firstspike.errors import UserError


@contextmanager
def joined(*, gpus: bool) -> Iterator[None]:
    """Within it, the processes that torchrun started are one group, by nccl with a GPU for each, else by gloo."""
    # DistributedDataParallel imports this, and it keeps hold of a group that it finds: the group's threads would then
    # outlive the group, and at times bring the interpreter down when it ends.
    import torch._dynamo

    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if gpus else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


class Processes:
    """What the processes of torch.distributed share; after `leave`, and with one process, sums are its own.

    A batch is cut into parts. Every process works on one; one process works on all of them, one after the other, and
    with as many parts as there would be processes it rounds as they do. Errors: UserError for parts that are not as
    many as the processes, or 1.
    """

    def __init__(self, parts: int = 1) -> None:
        running = distributed.is_available() and distributed.is_initialized()
        self.rank, self.count = (distributed.get_rank(), distributed.get_world_size()) if running else (0, 1)
        if self.count > 1 and parts not in (1, self.count):
            raise UserError(
                f"a batch in {parts} parts (batch_parts) is for 1 process or {parts}; {self.count} were started"
            )
        self.parts = self.count if self.count > 1 else parts
        self._device = "cuda" if running and distributed.get_backend() == "nccl" else "cpu"

    def leave(self) -> None:
        """From now on work alone, whatever other processes do."""
        self.rank, self.count = 0, 1

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network with gradients averaged over the processes; its weights are those of the first."""
        if self.count == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, static_graph=True)

    def agree(self, network: nn.Module) -> None:
        """Give every process the statistics that the first one's normalisations have gathered."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def split(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return the parts of a batch."""
        return np.array_split(indices, self.parts)

    def own(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return the parts of a batch that this process works on."""
        parts = self.split(indices)
        return parts if self.count == 1 else [parts[self.rank]]

    def total(self, own: torch.Tensor) -> torch.Tensor:
        """Return the sum over processes, with the gradient of this process's part."""
        return own if self.count == 1 else _Total.apply(own)

    def sum_all(self, values: Sequence[float]) -> np.ndarray:
        """Return the sums over processes of some numbers, in double precision."""
        if self.count == 1:
            return np.asarray(values, np.float64)
        tensor = torch.tensor(values, dtype=torch.float64, device=self._device)
        distributed.all_reduce(tensor)
        return tensor.cpu().numpy()

    def join(self, own: Sequence[np.ndarray], size: int) -> np.ndarray:
        """Return the whole batch's whole numbers from those of this process's parts, and all others'."""
        if self.count == 1:
            return np.concatenate(own)
        whole = np.zeros(size)
        for places, numbers in zip(self.own(np.arange(size)), own, strict=True):
            whole[places] = numbers
        return self.sum_all(whole.tolist()).astype(np.int64)


class _Total(torch.autograd.Function):
    """A sum over processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, own: torch.Tensor) -> torch.Tensor:
        everyone = own.clone()
        distributed.all_reduce(everyone)
        return everyone

    @staticmethod
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> torch.Tensor:
        return g
