"""A store filled by `bench.fill_lists`, once for the tests of a file that only read it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.fill_lists import Filled, fill_lists
from store.db.database import Database
from tests.support.postgres import TEMPLATE, Postgres


@dataclass(frozen=True, slots=True)
class FilledStore:
    """The address of the store, and what it holds."""

    url: str
    filled: Filled


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled_store(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledStore]:
    """A store of the file's `RECEIPTS`."""
    receipts: int = request.module.RECEIPTS
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("filled") / "makegood.db"
        shutil.copyfile(sqlite_template, path)
        url = f"sqlite:///{path}"
        yield FilledStore(url, asyncio.run(_fill(url, receipts)))
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create(template=TEMPLATE)
    url = postgres.url(name)
    yield FilledStore(url, asyncio.run(_fill(url, receipts)))
    postgres.drop(name)


@pytest.fixture
async def filled_database(filled_store: FilledStore) -> AsyncIterator[Database]:
    """The filled store of the file; the tests write nothing into it."""
    database = Database.open(filled_store.url)
    yield database
    await database.close()


@pytest.fixture
def filled(filled_store: FilledStore) -> Filled:
    """What the filled store holds."""
    return filled_store.filled


async def _fill(url: str, receipts: int) -> Filled:
    database = Database.open(url)
    try:
        return await fill_lists(database, receipts)
    finally:
        await database.close()
