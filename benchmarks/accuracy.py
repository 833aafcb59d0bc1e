"""Test accuracies of the convolutional networks on the first 10,000 MNIST images, each at its own schedule.

    python -m benchmarks.accuracy                       # all eight
    python -m benchmarks.accuracy --models mozafari2018 --first 1000

Writes results/accuracy.json and the README's table results/accuracy.md; a network that is there already is kept.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
MODELS = (
    "mozafari2018",
    "majority2024",
    "deep2024",
    "deepr2024",
    "deepr2024_greedy",
    "inception2024",
    "deeper2024",
    "resnet2024",
)


def run(model: str, first: int, seed: int, runs: Path) -> dict:
    """Train one network by the command; its figures."""
    command = [sys.executable, "train.py", "--model", model, "--dataset", "mnist", "--first", str(first)]
    command += ["--seed", str(seed), "--run-dir", str(runs)]
    began = time.monotonic()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    folder = Path(output.rsplit("report in ", 1)[1].splitlines()[0])
    metrics = json.loads((folder / "metrics.json").read_text())
    epochs = sum(1 for _ in (folder / "history.csv").open()) - 1
    return {
        "accuracy": metrics["accuracy"],
        "f1": metrics["f1"],
        "silent": metrics["silent"],
        "epochs": epochs,
        "minutes": (time.monotonic() - began) / 60,
    }


def table(results: dict[str, dict]) -> str:
    """The results as a Markdown table."""
    head = "| network | test accuracy, % | macro F1 | epochs |\n|---|---|---|---|\n"
    rows = [
        f"| {model} | {100 * r['accuracy']:.2f} | {r['f1']:.3f} | {r['epochs']} |"
        for model, r in results.items()
    ]
    return head + "\n".join(rows) + "\n"


def main() -> None:
    """Train what is asked for and write the results after each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--first", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    path = RESULTS / "accuracy.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else {}
    results = {model: kept[model] for model in given.models if model in kept}
    for model in given.models:
        if model not in results:
            results[model] = run(model, given.first, given.seed, given.runs)
            content = {"first": given.first, "seed": given.seed, "results": results}
            path.write_text(json.dumps(content, indent=1) + "\n")
            (RESULTS / "accuracy.md").write_text(table(results))
            print(model, results[model], flush=True)


if __name__ == "__main__":
    main()
