"""For the tests of settings: an environment without settings."""

import os

import pytest


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MAKEGOOD_", "TEMPORAL_")):
            monkeypatch.delenv(name)
