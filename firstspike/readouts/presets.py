"""The 128 published settings (Goupy et al., NeurIPS 2024), by name, from `presets.csv`.

A name is data set / configuration for features of STDP-CSNN, and softhebb / data set / configuration for
those of SoftHebb-CNN: `mnist/s2stdp+ncg`, `softhebb/cifar10/rstdp-5n`. An empty field is the default.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from firstspike.errors import UserError
from firstspike.readouts.competition import Free, OneThreshold, Regulation, TwoThresholds, groups_of
from firstspike.readouts.dropout import Dropout
from firstspike.readouts.layer import Layer
from firstspike.readouts.readout import Readout
from firstspike.readouts.rules import RSTDP, S2STDP, S4NN, SSTDP, Additive, Multiplicative, Rule

EXTRACTORS = {"STDP-CSNN": "", "SoftHebb-CNN": "softhebb/"}
DATASETS = {"MNIST": "mnist", "F-MNIST": "fashion-mnist", "CIFAR10": "cifar10", "CIFAR100": "cifar100"}


@dataclass(frozen=True)
class Preset:
    """A published readout and how it is trained: at most `epochs`, until validation stops for `patience`."""

    name: str
    extractor: str
    dataset: str
    classes: int
    readout: Readout
    epochs: int
    patience: int


@cache
def settings() -> Mapping[str, Mapping[str, str]]:
    """Give the table's rows by name: the published fields as text, the empty ones left out."""
    rows = {}
    with files(__package__).joinpath("presets.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            name = f"{EXTRACTORS[row['extractor']]}{DATASETS[row['dataset']]}/{row['config']}"
            rows[name] = MappingProxyType({key: text for key, text in row.items() if text})
    return MappingProxyType(rows)


def list_presets() -> list[str]:
    """Give the names of all presets, in order."""
    return sorted(settings())


def preset(name: str) -> Preset:
    """Give a published setting; UserError with the nearest names if there is none of that name."""
    row = settings().get(name.lower())
    if row is None:
        raise UserError(f"no preset {name!r}; there are {_near(name)}")
    extractor = "softhebb" if row["extractor"] == "SoftHebb-CNN" else "stdpcsnn"
    return Preset(
        name.lower(),
        extractor,
        DATASETS[row["dataset"]],
        int(row["n_classes"]),
        readout_of(row),
        int(row["epochs"]),
        int(row["early_stopping"]),
    )


def _near(name: str) -> str:
    """List the presets of the same data set, or the data sets where that is unknown too."""
    folders = [other.rpartition("/") for other in list_presets()]
    wanted = name.lower().rpartition("/")[0]
    same = ["".join(parts) for parts in folders if parts[0] == wanted]
    return ", ".join(same or sorted({f"{parts[0]}/..." for parts in folders}))


def _number(row: Mapping[str, str], key: str, default: float = 0.0) -> float:
    return float(row.get(key, default))


def _yes(row: Mapping[str, str], key: str, default: bool = False) -> bool:
    return row.get(key, str(default)).lower() == "true"


def readout_of(row: Mapping[str, str]) -> Readout:
    """Build the readout of a row of settings, text by field."""
    layer = Layer(
        _number(row, "firing_threshold"),
        leak=_number(row, "leak_tau") if "leak_tau" in row else None,
        mean=_number(row, "w_init_mean"),
        std=_number(row, "w_init_std") if _yes(row, "w_init_normal") else None,
        low=_number(row, "w_min"),
        high=_number(row, "w_max"),
        normalise=_yes(row, "w_norm"),
        compat=_yes(row, "compat"),
    )
    groups = groups_of(
        int(row["n_neurons"]),
        int(row["n_classes"]),
        non_target=int(row.get("nt_neurons", 0)),
        inhibit=_yes(row, "class_inhib"),
    )
    dropout = Dropout(_number(row, "dropout_in"), _number(row, "dropout_out"))
    return Readout(layer, _rule_of(row), groups, _regulation_of(row), dropout, _number(row, "annealing"))


def _regulation_of(row: Mapping[str, str]) -> Regulation:
    if not _yes(row, "competition_regulation"):
        return Free()
    form = TwoThresholds if _yes(row, "use_two_thr", True) else OneThreshold
    return form(_number(row, "thr_lr"), _number(row, "thr_anneal"))


def _rule_of(row: Mapping[str, str]) -> Rule:
    if row["method"] == "s4nn":
        return S4NN(_number(row, "t_gap"), _number(row, "lr"), ranges=_yes(row, "use_time_ranges", True))
    stdp: Additive | Multiplicative = Additive(_yes(row, "ignore_silent"))
    if row["method"] != "rstdp" and {"anti_ap", "anti_am"} & row.keys():
        raise UserError(f"anti_ap, anti_am with {row['method']}; only rstdp has rates of punishment")
    if row.get("stdp") == "multiplicative":
        if _yes(row, "ignore_silent"):
            raise UserError("ignore_silent with multiplicative STDP: additive STDP alone has it")
        if "beta" not in row:
            raise UserError("multiplicative STDP without beta; give it, 1 for instance")
        stdp = Multiplicative(_number(row, "beta"), _number(row, "w_min"), _number(row, "w_max"))
    ap, am = _number(row, "ap"), _number(row, "am")
    if row["method"] == "rstdp":
        anti_ap, anti_am = _number(row, "anti_ap", -ap), _number(row, "anti_am", -am)
        return RSTDP(ap, am, anti_ap, anti_am, adaptive=_yes(row, "adaptive_lr", True), stdp=stdp)
    form = SSTDP if _yes(row, "use_time_ranges") else S2STDP
    return form(_number(row, "t_gap"), ap, am, stdp)
