"""Asks an advisory service for known vulnerabilities of every pinned package: `make audit`.

pip-audit alone says "no known vulnerabilities" when it could ask about no package at all. Here 0 is
given only when each one was looked up and nothing is known of any; otherwise it says that nothing
was audited.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOUND, NOT_ASKED = 1, 2


def main(arguments: list[str]) -> int:
    """0:

    all were asked about and nothing is known; 1: something is known; 2: it could not be asked.
    """
    files = [Path(argument) for argument in arguments] or [HERE / "run.txt", HERE / "test.txt"]
    return max(_audit(path) for path in files)


def _audit(path: Path) -> int:
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--require-hashes",
        "--disable-pip",
        "--progress-spinner",
        "off",
    ]
    run = subprocess.run(
        [*command, "--format", "json", "--requirement", str(path)], capture_output=True, text=True
    )
    try:
        packages = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (run.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return _not_asked(path, f"pip-audit could not finish: {reason}")
    return verdict(path, packages)


# Any: pip-audit's own JSON.
def verdict(path: Path, packages: list[dict[str, object]]) -> int:
    """The exit code for the packages of one file, after printing their known vulnerabilities."""
    known = [package for package in packages if package.get("vulns")]
    skipped = [str(package["name"]) for package in packages if "vulns" not in package]
    for package in known:
        for advisory in package["vulns"]:  # type: ignore[attr-defined]
            fixed = ", ".join(advisory["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in: {fixed}")
    if skipped or not packages:
        return _not_asked(
            path,
            f"{len(skipped)} of {len(packages)} packages could not be looked up:"
            f" {', '.join(skipped[:5])} …",
        )
    print(
        f"{path.name}: {len(packages)} packages looked up, {len(known)} with known vulnerabilities"
    )
    return FOUND if known else 0


def _not_asked(path: Path, reason: str) -> int:
    print(
        f"{path.name}: NOT AUDITED. {reason}\n"
        "The audit asks the advisory service of PyPI: run it where the internet can be reached. "
        "This says nothing about whether vulnerabilities are known.",
        file=sys.stderr,
    )
    return NOT_ASKED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
