"""Writes what Makegood runs on as a CycloneDX document: `make sbom`. Versions and hashes are the
lock's, licences the venv's.

It checks its own work: a document that leaves out a pinned package, its version or one of its
hashes is not written.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")

# CycloneDX's own JSON.
Document = dict[str, Any]
# By name and version: the hashes.
Pins = dict[tuple[str, str], frozenset[str]]


def main(arguments: list[str]) -> int:
    """0 when the document is written; 1 when it would not be complete."""
    lock, target = Path(arguments[0]), Path(arguments[1])
    document = _made("requirements", str(lock), "--pyproject", str(ROOT / "pyproject.toml"))
    add_licences(document, _made("environment", str(ROOT / ".venv/bin/python")))
    if missing := left_out(document, lock.read_text(encoding="utf-8")):
        print(f"The document leaves out {', '.join(missing)}: not written.", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    with_licence = sum("licenses" in component for component in document["components"])
    print(
        f"{target}: {len(document['components'])} packages, {with_licence} of them with their"
        " licence"
    )
    return 0


def pins_of(lock: str) -> Pins:
    """Every package that a hashed requirement file pins."""
    pins: Pins = {}
    for entry in re.split(r"\n(?=\S)", lock):
        if (pinned := PINNED.match(entry)) is not None:
            pins[_plain(pinned["name"]), pinned["version"]] = frozenset(HASH.findall(entry))
    return pins


def listed(document: Document) -> Pins:
    """Every package that the document names."""
    pins: Pins = {}
    for component in document["components"]:
        hashes = (
            digest["content"]
            for reference in component.get("externalReferences", ())
            for digest in reference.get("hashes", ())
        )
        pins[_plain(component["name"]), component["version"]] = frozenset(hashes)
    return pins


def left_out(document: Document, lock: str) -> list[str]:
    """The pinned packages that the document does not name with their version and all of their
    hashes.
    """
    return sorted(name for (name, _), _ in pins_of(lock).items() - listed(document).items())


def add_licences(document: Document, environment: Document) -> None:
    """Gives each package the licences that the installed one of that name declares; one that is not
    installed here gets none.
    """
    installed = {
        _plain(component["name"]): component.get("licenses")
        for component in environment["components"]
    }
    for component in document["components"]:
        if licences := installed.get(_plain(component["name"])):
            component["licenses"] = licences


def _plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _made(*arguments: str) -> Document:
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        *arguments,
        "--output-reproducible",
        "--output-format",
        "JSON",
    ]
    document: Document = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    )
    return document


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
