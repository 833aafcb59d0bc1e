"""Make a feature file of dense .npy pairs: spike times (S, ...) and labels (S,), training and, if given, test samples.

python -m firstspike.readouts.convert times.npy labels.npy features.npz
python -m firstspike.readouts.convert t.npy l.npy features.npz --test test_t.npy test_l.npy --max-time 2
python train.py --model ncg2024 --features features.npz
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TextIO

from firstspike.errors import UserError
from firstspike.readouts.feature_file import convert


def main(arguments: Sequence[str], *, out: TextIO, err: TextIO) -> int:
    """The command; returns the exit status: 2 where the files do not fit, after one line that says why."""
    parser = argparse.ArgumentParser(
        prog="python -m firstspike.readouts.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("times", help=".npy of numbers from 0, one row a sample; max-time or later: silent")
    parser.add_argument("labels", help=".npy of whole numbers, one a sample")
    parser.add_argument("features", help="the feature file to write, .npz")
    parser.add_argument("--max-time", type=float, default=1.0, help="end of the window (default: 1)")
    parser.add_argument("--test", nargs=2, metavar=("TIMES", "LABELS"), help="the same of a test set")
    given = parser.parse_args(arguments)
    if not given.features.endswith(".npz"):
        err.write(f"{given.features}: a feature file ends in .npz\n")
        return 2
    try:
        made = convert(given.times, given.labels, given.features, max_time=given.max_time, test=given.test)
    except UserError as error:
        err.write(f"{error}\n")
        return 2
    tested = 0 if made.test is None else len(made.test)
    counts = f"{len(made.train)} training and {tested} test samples, {len(made.classes)} classes"
    out.write(f"{given.features}: {counts}, {made.train.inputs} inputs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], out=sys.stdout, err=sys.stderr))
