"""Readouts that differ from a published setting in some options, and fit data of any number of classes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from firstspike.errors import UserError
from firstspike.readouts.presets import Preset, preset, readout_of, settings

NUMBERS = {  # option: field of the table
    "threshold": "firing_threshold",
    "leak": "leak_tau",
    "mean": "w_init_mean",
    "std": "w_init_std",
    "low": "w_min",
    "high": "w_max",
    "t_gap": "t_gap",
    "ap": "ap",
    "am": "am",
    "anti_ap": "anti_ap",
    "anti_am": "anti_am",
    "lr": "lr",
    "beta": "beta",
    "annealing": "annealing",
    "thr_lr": "thr_lr",
    "thr_anneal": "thr_anneal",
    "dropout_in": "dropout_in",
    "dropout_out": "dropout_out",
}
FLAGS = {  # option: field of the table, value where that is empty
    "normalise": ("w_norm", False),
    "ignore_silent": ("ignore_silent", False),
    "adaptive": ("adaptive_lr", True),
    "compat": ("compat", False),
}
SIZES = ("per_class", "non_target")
STDP = ("additive", "multiplicative")
RULES = {
    "s2stdp": {"method": "s2stdp", "use_time_ranges": "false"},
    "sstdp": {"method": "s2stdp", "use_time_ranges": "true"},
    "rstdp": {"method": "rstdp"},
    "s4nn": {"method": "s4nn", "use_time_ranges": "true"},
}
REGULATIONS = {
    "two": {"competition_regulation": "true", "use_two_thr": "true"},
    "one": {"competition_regulation": "true", "use_two_thr": "false"},
    "none": {"competition_regulation": "false"},
}
USED = {  # by a rule; the other options of this table make no sense with it
    "s2stdp": {"t_gap", "ap", "am", "stdp", "beta", "ignore_silent"},
    "sstdp": {"t_gap", "ap", "am", "stdp", "beta", "ignore_silent"},
    "rstdp": {"ap", "am", "anti_ap", "anti_am", "adaptive", "stdp", "beta", "ignore_silent"},
    "s4nn": {"t_gap", "lr"},
}
NEEDED = {"s2stdp": ("t_gap", "ap", "am"), "rstdp": ("ap", "am"), "s4nn": ("t_gap", "lr")}


def options_of(name: str) -> dict[str, Any]:
    """Give every option of a variant with its value in a preset, None where the preset has none."""
    row = settings()[preset(name).name]
    numbers = {option: float(row[field]) if field in row else None for option, field in NUMBERS.items()}
    for rate in ("dropout_in", "dropout_out"):
        numbers[rate] = numbers[rate] or 0.0
    sizes = (int(row["n_neurons"]) // int(row["n_classes"]), int(row.get("nt_neurons", 0)))
    flags = {option: _flag(row, *field) for option, field in FLAGS.items()}
    return {
        "rule": _rule(row),
        **dict(zip(SIZES, sizes, strict=True)),
        "regulation": _regulation(row),
        "stdp": row.get("stdp", STDP[0]),
        **numbers,
        **flags,
    }


def variant(name: str, classes: int, options: Mapping[str, Any]) -> Preset:
    """Give a preset for so many classes, with some of `options_of` changed; UserError for what makes no sense."""
    found, row = preset(name), dict(settings()[name.lower()])
    own = options_of(name)
    if unknown := sorted(set(options) - set(own)):
        raise UserError(f"option {unknown[0]}: a readout has {', '.join(own)}")
    if "rule" in options:
        row |= _choice("rule", options["rule"], RULES)
        row = {key: text for key, text in row.items() if row["method"] == "rstdp" or "anti_" not in key}
    _check_used(_rule(row), {option for option, value in options.items() if value != own[option]})
    if "stdp" in options:
        row["stdp"] = _choice("stdp", options["stdp"], {form: form for form in STDP})
    row |= {FLAGS[option][0]: _truth(option, options[option]) for option in FLAGS if option in options}
    if "regulation" in options:
        row |= _choice("regulation", options["regulation"], REGULATIONS)
    row |= {NUMBERS[option]: _number(option, options[option]) for option in NUMBERS if option in options}
    per_class, non_target = (_size(option, options.get(option, own[option])) for option in SIZES)
    inhibit = per_class > 1 and row["method"] != "rstdp"
    row |= {"n_classes": str(classes), "n_neurons": str(classes * per_class), "nt_neurons": str(non_target)}
    row |= {"class_inhib": str(inhibit).lower()}
    _check_complete(row)
    return replace(found, classes=classes, readout=readout_of(row))


def _rule(row: Mapping[str, str]) -> str:
    ranged = row["method"] == "s2stdp" and row.get("use_time_ranges") == "true"
    return "sstdp" if ranged else row["method"]


def _regulation(row: Mapping[str, str]) -> str:
    if row.get("competition_regulation") != "true":
        return "none"
    return "one" if row.get("use_two_thr") == "false" else "two"


def _flag(row: Mapping[str, str], field: str, default: bool) -> bool:
    return row.get(field, str(default)).lower() == "true"


def _truth(option: str, value: Any) -> str:
    if not isinstance(value, bool):
        raise UserError(f"option {option}: {value!r} given, true or false needed")
    return str(value).lower()


def _check_used(rule: str, changed: set[str]) -> None:
    """Refuse options that the rule does not look at."""
    strange = sorted(changed & set().union(*USED.values()) - USED[rule])
    if strange:
        having = [name for name in RULES if strange[0] in USED[name]]
        raise UserError(f"option {strange[0]}: the rule {rule} has none; {', '.join(having)} has")


def _choice(option: str, value: Any, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise UserError(f"option {option}: {value!r} given, {', '.join(choices)} allowed")
    return choices[value]


def _number(option: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"option {option}: {value!r} given, a finite number needed")
    return repr(float(value))


def _size(option: str, value: Any) -> int:
    least = 1 if option == "per_class" else 0
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"option {option}: {value!r} given, a whole number from {least} needed")
    return value


def _check_complete(row: Mapping[str, str]) -> None:
    """Refuse a rule or regulation whose numbers the preset does not have and nobody gave."""
    needed = NEEDED[row["method"]]
    if row.get("competition_regulation") == "true":
        needed += ("thr_lr", "thr_anneal")
    for option in needed:
        if NUMBERS[option] not in row:
            flag = option.replace("_", "-")
            raise UserError(
                f"{row['config']} with {_rule(row)}, regulation {_regulation(row)}: no {option}; "
                f"give --{flag}, or a preset that has it"
            )
