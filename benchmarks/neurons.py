"""Gradient-trained neurons: time forward and backward beside copying memory, beside their peers, and over time.

    python -m benchmarks.neurons                 # everything; peers that are installed (pip install snntorch ...)
    python -m benchmarks.neurons --only ours     # or peers, lengths, single

128 samples x 512 steps x 128 units, float32, best processor time of the repeats on one thread. "Copies" is the time
over that of copying what a pass must read and write: current, output, both gradients, and once more the current, or
what is kept in its place, on the way back. One tensor is copied over and over for it, so much of it from caches where
they are large; "copies in turn" is over the time of copying as many tensors as a pass has, one after the other.
"""

import argparse
import resource
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.machine import child, markdown, say, timed, write
from firstspike.buffers import POOL
from firstspike.neurons import LIF, PLIF, SPSN, Integrator, Neuron, ParaLIF, SingleSpike, TwinLIF

Layer = Callable[[torch.Tensor], torch.Tensor]
Steps = Callable[[torch.Tensor], Any]

SHAPE = (128, 512, 128)
TAUS = {"tau_mem": 2e-2, "tau_syn": 2e-2}
TENSORS = 5  # read or written by a pass, at least; a copy reads one and writes one
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
LIMITS = {
    "LIF": 25.0,
    "ParaLIF-T": 25.0,
    "ParaLIF-D": 25.0,
    "ParaLIF-SB": 60.0,
    "ParaLIF-TRB": 60.0,
    "ParaLIF-GS": 60.0,
}


def neurons(units: int) -> dict[str, Neuron]:
    """Every neuron, with the constants of the published programs."""
    modes = {f"ParaLIF-{mode}": 0.1 if "D" in mode else 1.0 for mode in ("T", "D")}
    squashed = {f"ParaLIF-{mode}": 0.1 for mode in ("ST", "TT", "TRT", "SD", "TD", "TRD", "SB", "TRB", "GS")}
    return {
        "LIF": LIF(units, **TAUS),
        "LIF, learnt constants": LIF(units, learn_tau=True, learn_threshold=True, **TAUS),
        "LIF, refractory": LIF(units, refractory=4e-3, **TAUS),
        "PLIF": PLIF(units),
        **{
            name: ParaLIF(units, name[8:], threshold=theta, **TAUS)
            for name, theta in {**modes, **squashed}.items()
        },
        "ParaLIF-T, learnt constants": ParaLIF(units, "T", learn_tau=True, learn_threshold=True, **TAUS),
        "SPSN-SB": SPSN(units, "SB", **TAUS),
        "SPSN-GS": SPSN(units, "GS", **TAUS),
        "SingleSpike": SingleSpike(units),
        "TwinLIF": TwinLIF(units),
        "Integrator": Integrator(units, **TAUS),
        "LIF, recurrent": LIF(units, recurrent=True, **TAUS),
        "ParaLIF-T, recurrent": ParaLIF(units, "T", recurrent=True, **TAUS),
    }


def pass_of(layer: Layer, x: torch.Tensor, g: torch.Tensor) -> Callable[[], None]:
    """A pass forward and backward that leaves nothing behind."""

    def run() -> None:
        x.grad = None
        layer(x).backward(g)

    return run


def milliseconds(run: Callable[[], object], repeats: int = 15) -> float:
    """Best processor time of a call."""
    return timed(run, 1, repeats=repeats).best


def copy_time(like: torch.Tensor, tensors: int = 2) -> float:
    """Milliseconds to copy one tensor into memory that is already there, in turn to every second of so many."""
    sources = [like, *(like.clone() for _ in range(tensors // 2 - 1))]
    targets = [torch.zeros_like(like) for _ in sources]

    def run() -> None:
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)

    return milliseconds(run, 30) / len(sources)


def ours() -> list[dict[str, Any]]:
    """Every neuron with a batch of 128, 128 units and 512 steps."""
    x, g = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    rows = []
    for name, layer in neurons(SHAPE[2]).items():
        floor, in_turn = (copy_time(g, tensors) * TENSORS / 2 for tensors in (2, TENSORS + 1))
        spent = milliseconds(pass_of(layer, x, g), 5 if "recurrent" in name else 15)
        rows.append(
            {
                "neuron": name,
                "ms": spent,
                "copies": spent / floor,
                "floor_ms": floor,
                "copies_in_turn": spent / in_turn,
                "in_turn_ms": in_turn,
                "limit_ms": LIMITS.get(name),
            }
        )
        say(f"{name}: {spent:.1f} ms, {spent / floor:.1f} times the copies, {spent / in_turn:.1f} in turn")
    return rows


def peers() -> list[dict[str, Any]]:
    """The peers that are installed, multi-step or unbound, and indexed step by step (which is quadratic backwards)."""
    x, g = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    rows = []
    for name, make in PEERS.items():
        try:
            layer = make()
        except ImportError:
            say(f"{name}: not installed")
            continue
        spent = milliseconds(pass_of(layer, x, g), 1 if "indexed" in name else 5)
        rows.append({"neuron": name, "ms": spent})
        say(f"{name}: {spent:.0f} ms")
    return rows


def spikingjelly() -> Layer:
    """SpikingJelly's multi-step LIF."""
    from spikingjelly.activation_based import functional, neuron

    layer = neuron.LIFNode(tau=2.0, step_mode="m")

    def run(x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(layer)
        return layer(x.transpose(0, 1)).transpose(0, 1)

    return run


def stepped(steps: Steps, step: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]]) -> Layer:
    """A layer of a peer's cell, which gives a step's spikes and its state, None to begin with."""

    def run(x: torch.Tensor) -> torch.Tensor:
        state, spikes = None, []
        for current in steps(x):
            spike, state = step(current, state)
            spikes.append(spike)
        return torch.stack(spikes, 1)

    return run


def snntorch(steps: Steps) -> Layer:
    """SnnTorch's Leaky, fed step by step."""
    import snntorch

    layer = snntorch.Leaky(beta=0.9)
    return stepped(steps, lambda x, membrane: layer(x, layer.init_leaky() if membrane is None else membrane))


def snntorch_recurrent(steps: Steps) -> Layer:
    """SnnTorch's RLeaky with a matrix, fed step by step; its state is spikes and membranes."""
    import snntorch

    layer = snntorch.RLeaky(beta=0.9, linear_features=SHAPE[2])

    def step(x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        spikes, membrane = layer(x, *(layer.init_rleaky() if state is None else state))
        return spikes, (spikes, membrane)

    return stepped(steps, step)


def norse(steps: Steps) -> Layer:
    """Norse's LIF cell, fed step by step."""
    from norse.torch import LIFCell

    return stepped(steps, LIFCell())


def norse_recurrent(steps: Steps) -> Layer:
    """Norse's recurrent LIF cell, which multiplies its input by a matrix too, fed step by step."""
    from norse.torch import LIFRecurrentCell

    return stepped(steps, LIFRecurrentCell(SHAPE[2], SHAPE[2]))


def unbound(x: torch.Tensor) -> Any:
    """All steps at once: one node of the graph gathers their gradients."""
    return x.unbind(1)


def indexed(x: torch.Tensor) -> Any:
    """Step by step: every one sends back a gradient of the size of the whole."""
    return (x[:, t] for t in range(x.shape[1]))


PEERS: dict[str, Callable[[], Layer]] = {
    "SpikingJelly LIF, multi-step": spikingjelly,
    "snnTorch Leaky, unbound": partial(snntorch, unbound),
    "snnTorch Leaky, indexed": partial(snntorch, indexed),
    "snnTorch RLeaky, recurrent, unbound": partial(snntorch_recurrent, unbound),
    "Norse LIF, unbound": partial(norse, unbound),
    "Norse LIF, indexed": partial(norse, indexed),
    "Norse LIF, recurrent, unbound": partial(norse_recurrent, unbound),
}


def lengths() -> list[dict[str, Any]]:
    """Milliseconds a step as sequences grow, 16 samples of 128 units: constant where time is linear."""
    rows = []
    for steps in LENGTHS:
        x, g = torch.randn(16, steps, 128, requires_grad=True), torch.randn(16, steps, 128)
        row = {"steps": steps}
        for name in ("LIF", "ParaLIF-T", "ParaLIF-D", "ParaLIF-GS", "SingleSpike"):
            row[name] = milliseconds(pass_of(neurons(128)[name], x, g), 8) / steps * 1e3
        rows.append(row)
        say(", ".join(f"{key} {value:.2f}" for key, value in row.items()))
    return rows


def single(steps: int = 128) -> dict[str, float]:
    """The single-spike layer, 1000 inputs and 200 units, batch 128, beside its own matrix products."""
    x = (torch.rand(128, steps, 1000) < 0.1).float()
    linear, neuron = torch.nn.Linear(1000, 200), SingleSpike(200)
    g, flat = torch.randn(128, steps, 200), x.flatten(0, 1)

    def layer() -> None:
        linear.weight.grad = None
        neuron(linear(x)).backward(g)

    def products() -> None:
        flat @ linear.weight.detach().t()
        g.flatten(0, 1).t() @ flat

    repeats = 7 if steps <= 128 else 1
    spent, own = milliseconds(layer, repeats), milliseconds(products, repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"steps": steps, "ms": spent, "products_ms": own, "ratio": spent / own, "peak_gb": peak}


def recurrent(row: dict[str, Any]) -> bool:
    """Whether a row is of a neuron, or of a peer, that feeds its spikes back."""
    return "recurrent" in row["neuron"]


def best_peer(rows: list[dict[str, Any]], feeds_back: bool) -> float | None:
    """Milliseconds of the fastest peer with feedback, or without; None where there is none."""
    return min((row["ms"] for row in rows if recurrent(row) == feeds_back), default=None)


def times(theirs: float | None, ours: float) -> str:
    """How many times as long a peer takes."""
    return "-" if theirs is None else f"{theirs / ours:.1f}"


def table(results: dict[str, Any]) -> str:
    """All of it as Markdown."""
    best = {kind: best_peer(results["peers"], kind) for kind in (True, False)}
    head = ["neuron, forward + backward", "ms", "copies", "copies in turn", "best peer / ours"]
    rows = [
        [
            r["neuron"],
            f"{r['ms']:.1f}",
            f"{r['copies']:.1f}",
            f"{r['copies_in_turn']:.1f}",
            times(best[recurrent(r)], r["ms"]),
        ]
        for r in results["ours"]
    ]
    text = markdown(head, rows)
    if results["peers"]:
        text += "\n" + markdown(["peer", "ms"], [[r["neuron"], f"{r['ms']:.0f}"] for r in results["peers"]])
    if results["lengths"]:
        names = list(results["lengths"][0])
        text += "\n" + markdown(
            [f"{names[0]}, us a step", *names[1:]],
            [[r["steps"], *(f"{r[name]:.1f}" for name in names[1:])] for r in results["lengths"]],
        )
    if results["single"]:
        text += "\n" + markdown(
            [
                "single-spike layer 1000 to 200, batch 128, steps",
                "ms",
                "its matrix products, ms",
                "ratio",
                "peak GB",
            ],
            [
                [
                    r["steps"],
                    f"{r['ms']:.0f}",
                    f"{r['products_ms']:.0f}",
                    f"{r['ratio']:.2f}",
                    f"{r['peak_gb']:.1f}",
                ]
                for r in results["single"]
            ],
        )
    return text


def run(only: str | None = None) -> dict[str, Any]:
    """Measure everything, or one part, on one thread; results by part."""
    torch.set_num_threads(1)
    parts = {"ours": ours, "peers": peers, "lengths": lengths, "single": singles}
    results: dict[str, Any] = {}
    for name, part in parts.items():
        results[name] = part() if only in (None, name) else []
        POOL.clear()
    return results


def singles() -> list[dict[str, float]]:
    """The single-spike layer at two lengths, each in a process of its own, for the sake of the peak memory."""
    return [child("benchmarks.neurons", "--single", str(steps)) for steps in (128, 2048)]


def main() -> None:
    """Measure, print and write results/neurons.json and results/neurons.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("ours", "peers", "lengths", "single"))
    parser.add_argument("--single", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.single:
        import json

        torch.set_num_threads(1)
        sys.stdout.write(json.dumps(single(options.single)) + "\n")
        return
    results = run(options.only)
    if options.only is None:
        write("neurons", results, table(results))
    else:
        sys.stdout.write(table({"ours": [], "peers": [], "lengths": [], "single": [], **results}))


if __name__ == "__main__":
    main()
