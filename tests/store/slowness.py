"""Makes every search slow: to compare the text of one row takes a tenth of a second."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

from store.db.database import dialect_of

SECONDS_A_TEXT = 0.1
SLOW_SCHEMA = f"""
CREATE SCHEMA slow;
CREATE FUNCTION slow.alike(given text, pattern text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN PERFORM pg_sleep({SECONDS_A_TEXT});
  RETURN given OPERATOR(pg_catalog.~~) pattern; END $$;
CREATE OPERATOR slow.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = slow.alike);
"""


@contextmanager
def slow_searches(url: str) -> Iterator[None]:
    """Make searches slow, for connections to this store that are opened within the block."""
    if dialect_of(url) == "sqlite":
        event.listen(Engine, "connect", _lower_slowly)
        try:
            yield
        finally:
            event.remove(Engine, "connect", _lower_slowly)
        return
    _run(url, SLOW_SCHEMA, "ALTER DATABASE {name} SET search_path = slow, pg_catalog, public")
    try:
        yield
    finally:
        _run(url, "DROP SCHEMA slow CASCADE", "ALTER DATABASE {name} RESET search_path")


# Any: the dialect's own connection.
def _lower_slowly(connection: Any, _: object) -> None:
    def lower(given: str) -> str:
        time.sleep(SECONDS_A_TEXT)
        return given.lower()

    connection.create_function("lower", 1, lower)


def _run(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement.format(name=url.rpartition("/")[2]))
        await connection.close()

    with ThreadPoolExecutor(1) as thread:  # there may be an event loop in this one
        thread.submit(asyncio.run, run()).result()
