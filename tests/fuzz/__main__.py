"""Fuzzes the parsers with atheris: `python -m tests.fuzz` runs each target for 60 s, `--seconds`
and names choose otherwise.

Each target has a process of its own, since libFuzzer ends the one that it runs in. What it finds
interesting is kept under `artefacts/fuzz/`, and goes on from there the next time; an input that
breaks a parser is printed
and kept there too.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.fuzz.running import CORPUS, INPUT_SECONDS, TARGET_NAMES, fuzz

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "artefacts" / "fuzz"


def main() -> int:
    """0 when no target broke."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz the parsers with atheris."
    )
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help=f"which parsers: {', '.join(TARGET_NAMES)}; all by default",
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long each (default 60)")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where inputs are kept")
    parser.add_argument(
        "--here", action="store_true", help="in this process: one target, or all as one"
    )
    chosen = parser.parse_args()
    targets = chosen.targets or list(TARGET_NAMES)
    if unknown := set(targets) - set(TARGET_NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed: it has packages for Linux on x86-64 alone. `make fuzz`"
            " needs it.",
            file=sys.stderr,
        )
        return 1
    if chosen.here:
        fuzz(targets, seconds=chosen.seconds, kept=chosen.kept)
    broken = [name for name in targets if _run_apart(name, chosen.seconds, chosen.kept / name) != 0]
    print(
        f"{len(targets)} targets, {chosen.seconds} s each: "
        + (f"broken: {', '.join(broken)}" if broken else "nothing broke")
    )
    return 1 if broken else 0


def _run_apart(name: str, seconds: int, kept: Path) -> int:
    print(f"==> {name}: {seconds} s, from {CORPUS / name}", flush=True)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--here",
        name,
        "--seconds",
        str(seconds),
        "--kept",
        str(kept),
    ]
    return subprocess.run(command, cwd=ROOT, timeout=seconds * 3 + 60 + INPUT_SECONDS).returncode


if __name__ == "__main__":
    sys.exit(main())
