"""Runs the measurements in turn and prints which bounds did not hold: `python -m bench [NAME…]`.

Without a name it runs all. Each is a program of its own (`python -m bench.NAME --help`). It prints
min, median and max of its figures beside their bounds, and ends with 1 if a bound does not hold.
"""

import argparse
import subprocess
import sys
from importlib import import_module

from tests.support.processes import ROOT, python

PROGRAMS = (
    "ingest",
    "hooks",
    "listings",
    "syncs",
    "dispatch",
    "lag",
    "waiting",
    "neighbours",
    "outage_credit",
    "libraries",
    "lists",
)


def main() -> int:
    first_lines = {
        name: (import_module(f"bench.{name}").__doc__ or "").partition("\n")[0] for name in PROGRAMS
    }
    listed = "\n".join(f"  {name:<15}{line}" for name, line in first_lines.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"{__doc__}\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", default="all", choices=[*PROGRAMS, "all"], metavar="NAME"
    )
    chosen = parser.parse_args()
    failed = []
    for name in PROGRAMS if "all" in chosen.names else chosen.names:
        print(f"==> {name}", flush=True)
        if subprocess.run(python("-m", f"bench.{name}"), cwd=ROOT).returncode != 0:
            failed.append(name)
    print(
        f"A bound did not hold in: {', '.join(failed)}" if failed else "Every bound held",
        flush=True,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
