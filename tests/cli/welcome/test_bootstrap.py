"""What a start makes in the store: a sign-in link each time, and the first project once."""

import pytest

from cli.welcome.bootstrap import BootstrapResult, bootstrap_store
from config.settings import Settings, load_settings
from tests.cli.makegood import Makegood


@pytest.fixture
def settings(sqlite_makegood: Makegood, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of the command line of the test."""
    for name, value in sqlite_makegood.settings.items():
        monkeypatch.setenv(name, value)
    return load_settings()


async def test_first_start_makes_a_project_and_a_later_one_names_it(settings: Settings) -> None:
    first, later = await bootstrap_store(settings), await bootstrap_store(settings)

    assert (first.project_name, later.project_name) == ("default", "default")
    assert first.api_key is not None
    assert first.api_key.startswith("sk_test_")
    assert first.signing_secret is not None
    assert later == BootstrapResult(later.login_token, "default")
    assert first.login_token != later.login_token


@pytest.mark.parametrize(
    ("projects", "named"),
    [
        ((("shop", "live"), ("stage", "test"), ("lab", "test")), "stage"),
        ((("stage", "test"), ("default", "test")), "default"),
        ((("default", "live"),), None),
    ],
    ids=["the oldest test project", "the default one", "none for tests"],
)
async def test_project_of_the_first_call_is_a_test_project(
    projects: tuple[tuple[str, str], ...],
    named: str | None,
    settings: Settings,
    sqlite_makegood: Makegood,
) -> None:
    for name, mode in projects:
        assert sqlite_makegood("project", "create", name, "--mode", mode).code == 0

    result = await bootstrap_store(settings)

    assert result == BootstrapResult(result.login_token, named)


async def test_suspended_project_is_not_named(
    settings: Settings, sqlite_makegood: Makegood
) -> None:
    for name in ("demo-1", "stage"):
        sqlite_makegood("project", "create", name, "--mode", "test")
    assert sqlite_makegood("project", "suspend", "demo-1").code == 0

    assert (await bootstrap_store(settings)).project_name == "stage"
