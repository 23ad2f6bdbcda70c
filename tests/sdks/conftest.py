"""Tests of a language that is not installed are skipped before they begin."""

import pytest

from tests.sdks.merchant import command


@pytest.fixture(autouse=True)
def _language_is_installed(request: pytest.FixtureRequest) -> None:
    """Skip a test of a missing language, which would leave its threads and sockets behind."""
    if "language" in request.fixturenames:
        command(request.getfixturevalue("language"))
