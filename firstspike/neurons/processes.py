"""The processes of a data-parallel run, or the one process of an ordinary one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed, nn


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
    """What the processes of torch.distributed share; with one process, or `alone`, every method is the identity."""

    def __init__(self, *, alone: bool = False) -> None:
        running = not alone and distributed.is_available() and distributed.is_initialized()
        self.rank, self.count = (distributed.get_rank(), distributed.get_world_size()) if running else (0, 1)
        self._device = "cuda" if running and distributed.get_backend() == "nccl" else "cpu"

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network with gradients averaged over the processes; its weights are those of the first."""
        if self.count == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, static_graph=True)

    def share(self, indices: np.ndarray) -> np.ndarray:
        """Return this process's part of a batch."""
        return indices[self.rank :: self.count]

    def total(self, own: torch.Tensor) -> torch.Tensor:
        """Return the sum over processes, with the gradient of this process's part."""
        if self.count == 1:
            return own
        everyone = own.detach().clone()
        distributed.all_reduce(everyone)
        return own + (everyone - own.detach())

    def sum_all(self, values: Sequence[float]) -> np.ndarray:
        """Return the sums over processes of some numbers, in double precision."""
        if self.count == 1:
            return np.asarray(values, np.float64)
        tensor = torch.tensor(values, dtype=torch.float64, device=self._device)
        distributed.all_reduce(tensor)
        return tensor.cpu().numpy()

    def gather(self, own: np.ndarray, size: int) -> np.ndarray:
        """Return the whole batch's numbers from every process's share."""
        if self.count == 1:
            return own
        whole = np.zeros(size)
        whole[self.rank :: self.count] = own
        return self.sum_all(whole.tolist()).astype(own.dtype)
