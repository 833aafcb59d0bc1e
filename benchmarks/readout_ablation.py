"""What the parts of Neuronal Competition Groups are worth, one added after the other: accuracies and a figure.

    python -m benchmarks.readout_ablation                                # first 10,000 images of Fashion-MNIST, a fold
    python -m benchmarks.readout_ablation --first 60000 --folds 0 1 2 3 4 5 6 7 8 9

M neurons a class; CR-1, CR-2: competition regulation with one or two thresholds; L: a non-target neuron in each class;
Drop: dropout of output neurons in place of the regulation. The settings are those published for each (Goupy et al.,
NeurIPS 2024). Writes results/readout_ablation.json and .md, images/readout_ablation.png; what is there is kept.
"""

import argparse
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from benchmarks.machine import RESULTS, ROOT, markdown
from benchmarks.readout_accuracy import Results, features_of, keep, run_fold, stored
from firstspike.files import write_text
from firstspike.report.plots import COLOURS, new_figure, save_figure, tidy

NAME = "readout_ablation"
STEPS = {
    "M-1": "s2stdp",
    "M-5": "s2stdp+ncg-no-cr-no-nt",
    "M-5+CR-1": "s2stdp+ncg-cr-1-thr-no-nt",
    "M-5+CR-2": "s2stdp+ncg-no-nt",
    "M-5+CR-1+L": "s2stdp+ncg-cr-1-thr",
    "M-5+CR-2+L": "s2stdp+ncg",
    "M-5+Drop+L": "s2stdp+ncg-cr-drop",
}


def accuracies(results: Results, dataset: str) -> dict[str, np.ndarray]:
    """Test accuracies in percent of the folds of each step that was run."""
    found = {step: results.get(f"{dataset}/{setting}", {}).values() for step, setting in STEPS.items()}
    return {step: 100 * np.array([fold["test"] for fold in folds]) for step, folds in found.items() if folds}


def figure(found: Mapping[str, np.ndarray], title: str) -> Figure:
    """For each step its mean over the folds, and a dot a fold."""
    drawn = new_figure(7.5, 3.8)
    axes = drawn.subplots()
    for place, folds in enumerate(found.values()):
        axes.plot([place], [folds.mean()], "D", color=COLOURS[0], ms=9)
        if len(folds) > 1:
            axes.plot(np.full(len(folds), place), folds, "o", color="black", ms=3)
        axes.annotate(
            f"{folds.mean():.2f}", (place, folds.max()), (0, 8), textcoords="offset points", ha="center"
        )
    tidy(axes, title, y="test accuracy, %")
    axes.set_xticks(range(len(found)), list(found), rotation=20)
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.grid(axis="y", color="#E0E0E0")
    axes.set_ylim(min(f.min() for f in found.values()) - 0.5, max(f.max() for f in found.values()) + 0.8)
    return drawn


def main() -> None:
    """Run what is not there yet, and draw all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset", default="fashion-mnist", help="fashion-mnist or cifar10, which have every step"
    )
    parser.add_argument("--first", type=int, default=10000, help="training images, those held out among them")
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    for fold in given.folds:
        for setting in (f"{given.dataset}/{name}" for name in STEPS.values()):
            if str(fold) not in stored(NAME).get(setting, {}):
                features = features_of(setting, fold, given.threads, given.first)
                keep(setting, fold, run_fold(setting, fold, features, given.threads), NAME, first=given.first)
    found = accuracies(stored(NAME), given.dataset)
    rows = [
        (step, STEPS[step], f"{folds.mean():.2f} ± {folds.std():.2f}", len(folds))
        for step, folds in found.items()
    ]
    table = markdown(("step", "setting", "test accuracy, %", "folds"), rows)
    write_text(RESULTS / f"{NAME}.md", table)
    title = f"{given.dataset}, first {given.first:,} images: parts of the competition groups"
    save_figure(ROOT / "images" / f"{NAME}.png", figure(found, title))
    print(table)


if __name__ == "__main__":
    main()
