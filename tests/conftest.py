"""What every test may ask for: an empty, migrated database on both engines, the sealer, a project.

A test with `database`, or anything made from it, runs twice: on SQLite and on PostgreSQL. Each database is a copy of one that
was migrated once a session.
"""

import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from domain.projects import CreatedProject, Scope
from store.database import Database
from store.migrating import migrate
from store.sealing import Sealer
from tests.postgres import TEMPLATE, Postgres, running_postgres

FAULTS = Path(__file__).parent / "faults"
LONG_FILES = {"test_product.py", "test_production.py", "test_up.py", "test_demo.py", "test_story.py", "test_receipt.py"}
SECRET_KEY = "the root secret of the tests, long enough"


def pytest_configure() -> None:
    """A suite begun in a script's background, or by nohup, is deaf to some signals, and so would be every program that its
    tests send them to: a signal that is caught is not inherited."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files whose few tests take longest come first, so that no process is left with one of them in the end."""
    items.sort(key=lambda item: not item.path.is_relative_to(FAULTS) and item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with a migrated template database; started only when a test needs it."""
    with running_postgres() as server:
        server.create(TEMPLATE)
        migrate(server.url(TEMPLATE))
        yield server


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
    """The address of an empty, migrated database: the test runs once on each engine."""
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
    from store.projects import create_project

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
