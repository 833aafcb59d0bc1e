"""Time against the length of the sequence: the loop over steps, the parallel form as a scan, and the compiled loop.

    python -m benchmarks.running_time
    python -m benchmarks.running_time --longest 2000 --batch 16

128 neurons, batch 1, ten lengths from 10 to 5000 steps, forward, and forward with backward: LIF as a Python loop over
steps (indexed as the published programs do it, and unbound), ParaLIF-T as such a loop, in parallel in torch ops, and
both compiled. Draws images/running_time.png and writes results/running_time.json.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import markdown, say, timed, write
from firstspike.neurons import LIF, Neuron, ParaLIF

UNITS, TRIALS = 128, 5
OPTIONS = {"tau_mem": 1e-3, "tau_syn": 1e-3, "surrogate": "atan", "scale": 2.0}
IMAGE = Path(__file__).parents[1] / "images" / "running_time.png"
SLOW = "LIF, steps indexed"  # quadratic backwards


def scanned(layer: Neuron) -> Neuron:
    """The same neuron in torch ops instead of compiled."""
    layer.method = "scan"
    return layer


def indexed(x: torch.Tensor) -> list[torch.Tensor]:
    """x[:, t], step by step: every one sends back a gradient of the size of the whole, which is quadratic in all."""
    return [x[:, t] for t in range(x.shape[1])]


def unbound(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """All steps at once: their gradients are stacked once."""
    return x.unbind(1)


def lif_loop(
    steps: Callable[[torch.Tensor], Sequence[torch.Tensor]],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """LIF as it is commonly written; its gradient is straight through, for time is all that matters here."""

    def run(x: torch.Tensor) -> torch.Tensor:
        alpha = beta = float(np.exp(-1.0))
        syn = m = torch.zeros_like(x[:, 0])
        spikes = []
        for current in steps(x):
            syn = alpha * syn + current
            u = beta * m + (1 - beta) * syn
            s = (u > 1).to(u.dtype) - u.detach() + u
            m = u * (1 - s.detach())
            spikes.append(s)
        return torch.stack(spikes, 1)

    return run


def paralif_loop(x: torch.Tensor) -> torch.Tensor:
    """ParaLIF-T step by step, input unbound."""
    alpha = beta = float(np.exp(-1.0))
    syn = v = torch.zeros_like(x[:, 0])
    spikes = []
    for current in x.unbind(1):
        syn = alpha * syn + current
        v = beta * v + (1 - beta) * syn
        spikes.append((v > 1).to(v.dtype) - v.detach() + v)
    return torch.stack(spikes, 1)


FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    SLOW: lif_loop(indexed),
    "LIF, steps unbound": lif_loop(unbound),
    "LIF, compiled": LIF(UNITS, **OPTIONS),
    "ParaLIF-T, steps unbound": paralif_loop,
    "ParaLIF-T, parallel scan": scanned(ParaLIF(UNITS, "T", **OPTIONS)),
    "ParaLIF-T, compiled": ParaLIF(UNITS, "T", **OPTIONS),
}


def measure(longest: int, batch: int) -> list[dict[str, Any]]:
    """Milliseconds of every form at ten lengths, forward and in all; the indexed loop's way back up to 2000 steps."""
    rows = []
    for steps in np.linspace(10, longest, 10).astype(int).tolist():
        x, g = torch.randn(batch, steps, UNITS), torch.randn(batch, steps, UNITS)
        row: dict[str, Any] = {"steps": steps, "forward": {}, "both": {}}
        for name, form in FORMS.items():
            row["forward"][name] = timed(_forward(form, x), 1, repeats=TRIALS).best
            if name != SLOW or steps <= 2000:
                row["both"][name] = timed(_both(form, x.clone().requires_grad_(), g), 1, repeats=TRIALS).best
        rows.append(row)
        say(f"{steps} steps: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in row["both"].items()))
    return rows


def _forward(form: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            form(x)

    return run


def _both(
    form: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, g: torch.Tensor
) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        form(x).backward(g)

    return run


def draw(rows: list[dict[str, Any]], batch: int, path: Path) -> None:
    """Two panels, forward and forward + backward, time against length, logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for axes, part, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("forward", "both"),
        ("forward", "forward + backward"),
        strict=True,
    ):
        for name in FORMS:
            points = [(row["steps"], row[part][name]) for row in rows if name in row[part]]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axes.set(yscale="log", xlabel="steps", title=f"{title}, {UNITS} neurons, batch {batch}, one thread")
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("milliseconds")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=120)


def table(rows: list[dict[str, Any]]) -> str:
    """Forward + backward as Markdown."""
    return markdown(
        ["forward + backward, ms", *(str(row["steps"]) for row in rows)],
        [
            [name, *(f"{row['both'][name]:.2f}" if name in row["both"] else "-" for row in rows)]
            for name in FORMS
        ],
    )


def run(longest: int = 5000, batch: int = 1) -> list[dict[str, Any]]:
    """Measure, draw and write; the measurements."""
    torch.set_num_threads(1)
    rows = measure(longest, batch)
    draw(rows, batch, IMAGE)
    write("running_time", {"batch": batch, "rows": rows}, table(rows))
    return rows


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--longest", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    run(options.longest, options.batch)


if __name__ == "__main__":
    main()
