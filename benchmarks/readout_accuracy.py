"""Accuracy of the published readout settings by the published protocol: ten folds, features learnt anew on each.

    python -m benchmarks.readout_accuracy                                     # every setting of SETTINGS, ten folds
    python -m benchmarks.readout_accuracy mnist/s2stdp+ncg --folds 0 1 2      # some

Fold f is held out for early stopping, the extractor learns from the other nine with the seed f, so does the readout,
and the official test set gives the score (Goupy et al., NeurIPS 2024). A fold that stands in
results/readouts_accuracy.json is not run again; features are kept in the cache folder, so that the settings of a data
set share those of a fold. Features of SoftHebb on CIFAR-10 are 20 minutes to learn, 15 to make, and 8 GB.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, machine, markdown, say
from firstspike.data import load
from firstspike.data.samples import Selection
from firstspike.files import write_json, write_text
from firstspike.readouts.presets import preset
from firstspike.readouts.protocol import summarise
from firstspike.readouts.sources import LEARNT_IN_PASSING, FeatureSet, Place
from firstspike.report.callbacks import Callback
from firstspike.report.records import EpochRecord
from models import create_model
from network_trainer import NetworkTrainer
from preparation import cache_folder
from tests.conftest import data_folder

NAME = "readouts_accuracy"
FOLDS = 10
PUBLISHED = {"mnist/s2stdp+ncg": 98.92, "fashion-mnist/s2stdp+ncg": 88.72, "cifar10/s2stdp+ncg": 66.41}
SETTINGS = (
    "mnist/s2stdp+ncg",
    "mnist/s2stdp",
    "mnist/sstdp+ncg",
    "mnist/sstdp",
    "mnist/rstdp-5n",
    "fashion-mnist/s2stdp+ncg",
    "cifar10/s2stdp+ncg",
    "softhebb/mnist/s2stdp+ncg",
    "softhebb/fashion-mnist/s2stdp+ncg",
    "softhebb/cifar10/s2stdp+ncg",
)
Results = dict[str, dict[str, dict[str, float]]]  # figures by setting and fold
STAND_INS = {"cifar10": "cifar10-jpeg"}  # lossy, and in another order than the original batches


class Follower(Callback):
    """Says how an epoch went and remembers the network at its end: the published scores are of the last epoch."""

    def __init__(self, net: NetworkTrainer, name: str) -> None:
        self.net, self.name, self.state = net, name, net.state_dict()

    def on_epoch(self, record: EpochRecord) -> None:
        """One more epoch."""
        self.state = self.net.state_dict()
        accuracies = f"training {record.accuracy:.2%}, validation {record.validation_accuracy:.2%}"
        say(f"{self.name} epoch {record.epoch + 1}: {accuracies}, {record.seconds:.1f} s")


def features_of(setting: str, fold: int, threads: int, first: int | None = None) -> FeatureSet:
    """Features of a setting's extractor on its data set, learnt on all folds but one of its first so many images."""
    asked = preset(setting)
    dataset = load(STAND_INS.get(asked.dataset, asked.dataset), data_folder())
    selection = Selection(seed=fold, fold=f"{fold}/{FOLDS}", first=first)
    return LEARNT_IN_PASSING[asked.extractor](dataset, selection, Place(cache_folder(), threads))


def run_fold(setting: str, fold: int, features: FeatureSet, threads: int) -> dict[str, Any]:
    """Train one readout until validation stops; its test accuracies at the best and at the last epoch."""
    rows, columns, channels = features.shape
    net = create_model(
        "ncg2024", preset=setting, in_channels=channels, image_size=(rows, columns), classes=features.classes,
        seed=fold, compat=True,
    )  # fmt: skip
    net.engine.workers = threads
    follower, parts, began = Follower(net, f"{setting} fold {fold}"), features.parts, time.process_time()
    position = net.train(parts.train, parts.validation, patience=net.patience, callbacks=[follower])
    best = accuracy(net, features)
    net.load_state_dict(follower.state)
    return {
        "test": best,
        "test_last": accuracy(net, features),
        "validation": position.best_accuracy,
        "best_epoch": position.best_epoch + 1,
        "epochs": len(position.records),
        "minutes": (time.process_time() - began) / 60,
    }


def accuracy(net: NetworkTrainer, features: FeatureSet) -> float:
    """Share of right answers on the test set."""
    test = features.parts.test
    return float(np.mean(net.predict(test.take(slice(None))) == test.labels))


def table(results: Results) -> str:
    """One line a setting: published, ours at the best and at the last epoch."""
    head = ("setting", "published, %", "ours, %", "last epoch, %", "folds", "epochs", "core-minutes a fold")
    known = [name for setting in SETTINGS for name in results if name.split(",")[0] == setting]
    rows = [row(name, list(results[name].values())) for name in known]
    return markdown(head, rows)


def row(setting: str, folds: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The figures of a setting: means over folds and their population standard deviations."""
    means = [summarise([fold[name] for fold in folds]) for name in ("test", "test_last")]
    ours = [f"{100 * mean:.2f} ± {100 * deviation:.2f}" for mean, deviation in means]
    others = (np.mean([fold["epochs"] for fold in folds]), np.mean([fold["minutes"] for fold in folds]))
    of_all = PUBLISHED.get(setting.split(",")[0])
    published = "-" if of_all is None else f"{of_all:.2f}"
    return (setting, published, *ours, str(len(folds)), f"{others[0]:.0f}", f"{others[1]:.1f}")


def stored(name: str = NAME) -> Results:
    """What earlier calls have found."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


def keep(setting: str, fold: int, found: dict[str, Any], name: str = NAME, **about: Any) -> Results:
    """Add a fold to what is there by now, maybe from another process, and write all anew."""
    results = stored(name)
    results.setdefault(setting, {})[str(fold)] = found
    results[setting] = dict(sorted(results[setting].items(), key=lambda item: int(item[0])))
    write_json(RESULTS / f"{name}.json", {"machine": machine(), **about, "results": results})
    return results


def main() -> None:
    """Run what is asked for and not there yet, fold by fold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", default=SETTINGS)
    parser.add_argument("--folds", type=int, nargs="+", default=range(FOLDS))
    parser.add_argument("--first", type=int, help="training images, those held out among them (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    for fold in given.folds:
        for setting in given.settings:
            row_name = setting if given.first is None else f"{setting}, first {given.first}"
            if str(fold) in stored().get(row_name, {}):
                continue
            features = features_of(setting, fold, given.threads, given.first)
            results = keep(row_name, fold, run_fold(setting, fold, features, given.threads))
            write_text(RESULTS / f"{NAME}.md", table(results))
    print(table(stored()))


if __name__ == "__main__":
    main()
