"""For the tests of backups: empty stores to restore into, and the file of the backup."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from store.db.database import Database, dialect_of
from tests.store.maintenance.backup_setup import another


@pytest.fixture(params=["same", "other"])
def any_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """A database of the same kind, and one of the other."""
    is_sqlite = (dialect_of(database_url) == "sqlite") is (request.param == "same")
    with another("sqlite" if is_sqlite else "postgresql", request) as url:
        yield url


@pytest.fixture
def same_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    with another(dialect_of(database_url), request) as url:
        yield url


@pytest.fixture
async def empty(same_url: str) -> AsyncIterator[Database]:
    """Another store of the same kind, empty."""
    database = Database.open(same_url)
    yield database
    await database.close()


@pytest.fixture
async def empty_of_any_kind(any_url: str) -> AsyncIterator[Database]:
    """Another store, empty, of the same kind and of the other."""
    database = Database.open(any_url)
    yield database
    await database.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.jsonl.gz"
