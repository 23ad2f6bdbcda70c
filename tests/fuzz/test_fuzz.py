"""The parsers against the committed inputs, and a few seconds of a fuzzer from there on; `make
fuzz` runs it for longer.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.running import CORPUS, TARGET_NAMES
from tests.fuzz.targets import TARGETS, mail
from tests.support.processes import ROOT

SECONDS = 2


def test_every_target_has_its_corpus() -> None:
    assert set(TARGET_NAMES) == set(TARGETS)
    assert all(any((CORPUS / name).iterdir()) for name in TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_committed_inputs_break_no_parser(name: str) -> None:
    for path in sorted((CORPUS / name).iterdir()):
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize(
    "charset",
    ["undefined", "idna", "punycode", "utf-7", "unicode_escape", "hex", "utf-16", "no-such"],
)
def test_mail_in_an_unknown_charset_is_shown(charset: str) -> None:
    head = (
        f"Subject: =?{charset}?q?=5Cud800+2AA-=FF?=\r\nContent-Type: text/plain;"
        f" charset={charset}\r\n\r\n"
    )

    mail(head.encode() + b"\\ud800+2AA-\xff")


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_empty_and_large_inputs_break_no_parser(name: str, size: int) -> None:
    for byte in (b"\0", b"[", b'"', b"\xff", b"9", b" "):
        TARGETS[name](byte * size)


def test_fuzzer_finds_nothing_in_a_few_seconds(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has packages for Linux on x86-64 alone")
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--here",
        "--seconds",
        str(SECONDS),
        "--kept",
        str(tmp_path),
    ]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert run.returncode == 0, (run.stdout + run.stderr)[-4_000:]
    assert "DONE" in run.stderr


def test_fuzzer_reports_what_breaks(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has packages for Linux on x86-64 alone")
    program = (
        "from pathlib import Path; from tests.fuzz import targets, running; "
        "targets.TARGETS['url'] = lambda data: 1 // (b'https' not in data); "
        f"running.fuzz(['url'], seconds=20, kept=Path({str(tmp_path)!r}))"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100
    )

    assert run.returncode != 0
    assert "ZeroDivisionError" in run.stdout + run.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("crash-")]
