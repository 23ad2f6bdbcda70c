"""The shared vectors through the verifier of each language; `tests/domain/security/test_signing.py`
runs them through the service.
"""

import json
import re

import pytest

from tests.sdks.merchant import SDKS, run

FILES = ("signing.json", "verification.json", "settings.json")
CASES = sum(len(json.loads((SDKS / "vectors" / name).read_text())["cases"]) for name in FILES)


def test_there_are_vectors() -> None:
    assert CASES >= 280


@pytest.mark.parametrize(
    ("language", "script"),
    [("python", "tests/check_vectors.py"), ("php", "tests/check_vectors.php")],
)
def test_verifier_agrees_with_every_vector(language: str, script: str) -> None:
    ran = run(language, script)

    assert (ran.returncode, ran.stdout.strip()) == (0, f"vectors: {CASES} passed, 0 failed"), (
        ran.stdout + ran.stderr
    )


def test_node_verifier_agrees_with_every_vector() -> None:
    ran = run("node", "--test", "--test-reporter=tap", "tests/")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"^# pass ([0-9]+)$", ran.stdout, re.MULTILINE)
    assert passed is not None, ran.stdout
    assert int(passed.group(1)) > CASES
    assert re.search(r"^# (fail|skipped) [1-9]", ran.stdout, re.MULTILINE) is None
