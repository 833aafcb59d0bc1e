"""Every benchmark that compares: each measures, prints its table and writes it to results/.

python -m benchmarks.run                # all
python -m benchmarks.run zoo neurons    # some
"""

import argparse
import subprocess
import sys

MODULES = ("zoo", "readouts", "neurons")


def main() -> int:
    """Run the benchmarks one after the other, each in a process of its own; the exit status of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="NAME", help=", ".join(MODULES))
    for module in parser.parse_args().modules or MODULES:
        print(f"== {module}", flush=True)
        status = subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
