"""Which errors mean that the store is at fault, not the statement: the same again later may well succeed.

Shared by ordinary sessions (`store.database`), the front door and the worker's listener. Judges only, and retries nothing.
"""

import sqlite3
from sqlite3 import SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, SQLITE_LOCKED, SQLITE_READONLY

import asyncpg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from domain.errors import Unavailable

RETRY_AFTER_SECONDS = 2
# What a PostgreSQL connection may raise when it breaks. TimeoutError, of the driver's own limits, is an OSError.
# InternalClientError: what a connection says between the server's farewell and its end.
BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_SQLITE_UNAVAILABLE = {SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, SQLITE_LOCKED, SQLITE_READONLY}
# Connection lost, resources exhausted, operator intervention, system error, deadlock or serialisation failure.
_POSTGRES_UNAVAILABLE = ("08", "53", "57", "58", "40")


def is_sqlite_failure(error: sqlite3.Error) -> bool:
    """Whether SQLite itself is at fault, by its error code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_UNAVAILABLE


def is_postgres_failure(sqlstate: str | None) -> bool:
    """The same for the SQLSTATE that PostgreSQL gave."""
    return (sqlstate or "").startswith(_POSTGRES_UNAVAILABLE)


def is_driver_failure(error: BaseException | None) -> bool:
    """The same for what asyncpg raised itself. A value that it cannot encode is an InterfaceError too, and the caller's fault."""
    broken = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return isinstance(error, broken) and not isinstance(error, ValueError)


def is_session_failure(error: DBAPIError) -> bool:
    """The same for what SQLAlchemy made of a driver's error."""
    if isinstance(error.orig, sqlite3.Error):
        return is_sqlite_failure(error.orig)
    if error.connection_invalidated or is_postgres_failure(getattr(error.orig, "sqlstate", None)):
        return True
    return is_driver_failure(getattr(error.orig, "__cause__", None))


def name_driver_failure(context: ExceptionContext) -> Unavailable | None:
    """For SQLAlchemy's `handle_error`: what asyncpg raises past it, such as its time limit; that connection is gone.

    Named there, where nothing but the driver raises: a caller's own TimeoutError in a session's block stays what it is.
    """
    if not is_driver_failure(context.original_exception):
        return None
    context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
    return unavailable()


def unavailable() -> Unavailable:
    return Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
