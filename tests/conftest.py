"""Fixtures of every test: an empty, migrated database, the sealer, a project.

A test with `database`, or anything made from it, has two runs: on SQLite and on PostgreSQL. Above
the store, the second is a long test (`tests/support/stores.py`). Each database is a copy of one
that was migrated once a session.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
import trustme
from temporalio.testing import WorkflowEnvironment
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from domain.garbage_collection import tune_garbage_collection
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.migrate import migrate
from tests.support.applications import share_analyses
from tests.support.passwords import CHEAP, hash_passwords
from tests.support.postgres import TEMPLATE, Postgres, running_postgres
from tests.support.scheduling import INSTALLATIONS, TIMED, Groups, group_of
from tests.support.spread import left_out
from tests.support.stores import is_repeated_on_another_store
from tests.support.temporal import start_temporal

NICENESS = 10
SECRET_KEY = "the root secret of the tests, long enough"


def pytest_configure(config: pytest.Config) -> None:
    """Restore the signals that a suite in the background, or under nohup, ignores.

    Programs that the tests start would inherit that. A caught signal is not inherited.
    """
    if not hasattr(config, "workerinput"):
        _trust_one_authority(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    # The library's own default draws every local of a traceback, which stops an event loop for
    # seconds.
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


def _trust_one_authority(config: pytest.Config) -> None:
    """Let every process of the tests trust one authority: the system's take 50 ms to read."""
    directory = tempfile.TemporaryDirectory(prefix="makegood-authority-")
    config.add_cleanup(directory.cleanup)
    path = Path(directory.name) / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    os.environ["SSL_CERT_FILE"] = str(path)
    os.environ["SSL_CERT_DIR"] = directory.name


@pytest.hookimpl(tryfirst=True)  # before pytest deselects long tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark repetitions as long; put the group of installations first and the timed tests last."""
    for item in [*filter(is_repeated_on_another_store, items), *left_out(items)]:
        item.add_marker(pytest.mark.long)
    ranks = {INSTALLATIONS: 0, TIMED: 2}
    items.sort(key=lambda item: ranks.get(group_of(item.nodeid), 1))


def pytest_collection_finish() -> None:
    """Keep collections of garbage short: one of all tests' objects stops a loop for seconds."""
    tune_garbage_collection()


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> Iterator[None]:
    """After each file, what is left is no longer looked at by collections of garbage."""
    yield
    tune_garbage_collection()


@pytest.fixture(scope="session", autouse=True)
def _cheap_applications() -> Iterator[None]:
    """Applications are built for hundreds of tests, from the same functions."""
    with pytest.MonkeyPatch.context() as patch:
        share_analyses(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        hash_passwords(patch, CHEAP)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests outside the groups run at lower priority, which their process never leaves again."""
    if group_of(item.nodeid) not in {INSTALLATIONS, TIMED}:
        os.nice(NICENESS - os.nice(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """A process works through a whole group, or a whole file."""
    return Groups(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with a migrated template database; started only when a test needs it."""
    with running_postgres() as server:
        server.create(TEMPLATE)
        migrate(server.url(TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def temporal() -> Iterator[WorkflowEnvironment]:
    """Temporal's dev server; started only when a test needs it."""
    with asyncio.Runner() as runner:
        environment = runner.run(start_temporal())
        yield environment
        runner.run(environment.shutdown())


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "makegood.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of an empty, migrated SQLite database."""
    path = tmp_path / "makegood.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty, migrated PostgreSQL database."""
    name = postgres.borrow()
    yield postgres.url(name)
    postgres.give_back(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty, migrated database: the test runs on SQLite and on PostgreSQL."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The store, opened on an empty, migrated database, and closed after the test."""
    database = Database.open(database_url)
    yield database
    await database.close()


@pytest.fixture
def sealer() -> Sealer:
    """What seals secrets and digests keys; every process of one test has the same root secret."""
    return Sealer(SECRET_KEY)


@pytest.fixture
async def project(database: Database, sealer: Sealer) -> CreatedProject:
    """A test project with a key of every scope, one alert address and the contract's defaults."""
    from store.projects.projects import create_project

    async with database.transaction() as session:
        return await create_project(
            session,
            sealer,
            name="shop",
            livemode=False,
            repair_url="https://shop.example/repair",
            alert_emails=("ops@shop.example",),
            scopes=frozenset(Scope),
            now=await database.now(session),
        )
