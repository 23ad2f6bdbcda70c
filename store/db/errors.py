"""Classifies database errors: every class of SQLSTATE and every result code of SQLite.

The same rule holds for ordinary sessions (`store.db.pools`), the ingest connection and the worker's
listener. "Cannot write here" is always the store's fault: the caller gets `unavailable` and may
send the same request again. This module only classifies; it retries nothing.
`docs/reference/database-errors.md` shows both tables.
"""

import sqlite3
from collections.abc import Mapping
from enum import StrEnum

import asyncpg
from sqlalchemy.exc import DBAPIError

from domain.errors import Unavailable

RETRY_AFTER_SECONDS = 2
QUERY_CANCELED = "57014"
# What a PostgreSQL connection may raise when it breaks. The driver's own time limits raise
# TimeoutError, which is an OSError. A connection raises InternalClientError between the server's
# shutdown message and its own end.
BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Follows(StrEnum):
    """The consequence of an error."""

    STATEMENT = "statement"
    """The statement or its values are at fault. This is a bug: the response is `internal_error`."""
    AGAIN = "again"
    """The transaction itself failed: `unavailable`. The members of a batch are retried one by one.
    """
    UNAVAILABLE = "unavailable"
    """The store cannot do it now: `unavailable`. The connection stays open."""
    RECONNECT = "reconnect"
    """This server or session is lost: `unavailable`. Every connection is replaced."""


# Keys are classes (two characters) or codes (five). A code takes precedence over its class. Every
# class of PostgreSQL's appendix A is listed.
SQLSTATES: Mapping[str, tuple[Follows, str]] = {
    "00": (Follows.STATEMENT, "Success"),
    "01": (Follows.STATEMENT, "A warning"),
    "02": (Follows.STATEMENT, "No data"),
    "03": (Follows.STATEMENT, "The statement is not complete"),
    "08": (Follows.RECONNECT, "The connection failed"),
    "09": (Follows.STATEMENT, "A trigger raised an error"),
    "0A": (Follows.STATEMENT, "A feature is not supported"),
    "0A000": (
        Follows.AGAIN,
        "A migration changed the table of a prepared statement, which is prepared again",
    ),
    "0B": (Follows.STATEMENT, "A transaction cannot be started like this"),
    "0F": (Follows.STATEMENT, "A locator is invalid"),
    "0L": (Follows.STATEMENT, "A grantor is invalid"),
    "0P": (Follows.STATEMENT, "A role is invalid"),
    "0Z": (Follows.STATEMENT, "Diagnostics were requested in an invalid way"),
    "10": (Follows.STATEMENT, "An XQuery error"),
    "20": (Follows.STATEMENT, "A CASE has no matching branch"),
    "21": (Follows.STATEMENT, "A subquery for one value returned several rows"),
    "22": (Follows.STATEMENT, "A value is invalid"),
    "23": (Follows.STATEMENT, "A constraint is violated"),
    "24": (Follows.STATEMENT, "A cursor is in an invalid state"),
    "25": (Follows.STATEMENT, "The transaction is in an invalid state"),
    "25006": (
        Follows.RECONNECT,
        "The transaction is read-only: a demoted node, a standby, a provider's disk guard",
    ),
    "25P03": (
        Follows.RECONNECT,
        "The session was ended: it was idle in a transaction for too long",
    ),
    "25P04": (Follows.RECONNECT, "The session was ended: its transaction took too long"),
    "26": (Follows.STATEMENT, "The name of a prepared statement is invalid"),
    "26000": (
        Follows.RECONNECT,
        "A prepared statement is gone: a pooler gave the session another server connection",
    ),
    "27": (Follows.STATEMENT, "A trigger changed the rows of its own statement"),
    "28": (Follows.RECONNECT, "The role or its password is refused"),
    "2B": (Follows.STATEMENT, "Other objects depend on a dropped one"),
    "2D": (Follows.STATEMENT, "A transaction cannot end like this"),
    "2F": (Follows.STATEMENT, "An SQL function failed"),
    "34": (Follows.STATEMENT, "The name of a cursor is invalid"),
    "38": (Follows.STATEMENT, "An external function failed"),
    "39": (Follows.STATEMENT, "The call of an external function is invalid"),
    "3B": (Follows.STATEMENT, "A savepoint is invalid"),
    "3D": (Follows.RECONNECT, "The database does not exist: it was dropped, or is being restored"),
    "3F": (Follows.STATEMENT, "The name of a schema is invalid"),
    "40": (
        Follows.AGAIN,
        "The transaction lost to another one: a deadlock or a serialisation failure",
    ),
    "42": (Follows.STATEMENT, "The statement is invalid, or the tables are not current"),
    "42501": (Follows.UNAVAILABLE, "The role has no right to do this: the right was revoked"),
    "44": (Follows.STATEMENT, "A view's condition is violated"),
    "53": (Follows.UNAVAILABLE, "Resources are exhausted: disk, memory, connections"),
    "54": (Follows.STATEMENT, "A limit of the program is exceeded"),
    "55": (Follows.UNAVAILABLE, "An object is not in the required state"),
    "55P03": (Follows.AGAIN, "A lock was not granted in time"),
    "57": (Follows.UNAVAILABLE, "An operator or a time limit intervened"),
    "57P01": (Follows.RECONNECT, "The server is shutting down, or the session was ended"),
    "57P02": (Follows.RECONNECT, "The server crashed"),
    "57P03": (Follows.RECONNECT, "The server accepts no connections now"),
    "57P04": (Follows.RECONNECT, "The database was dropped"),
    "57P05": (Follows.RECONNECT, "The session was ended: it was idle for too long"),
    "58": (Follows.UNAVAILABLE, "The operating system failed: input or output"),
    "72": (Follows.AGAIN, "The snapshot is too old"),
    "F0": (Follows.UNAVAILABLE, "The server's configuration file is invalid"),
    "HV": (Follows.STATEMENT, "A foreign data wrapper failed"),
    "P0": (
        Follows.STATEMENT,
        "A PL/pgSQL function raised an error, such as the audit log's triggers",
    ),
    "XX": (
        Follows.AGAIN,
        "The server found an internal error: corrupted data or a corrupted index",
    ),
}
# Keys are primary result codes; an extended code has the primary one in its last eight bits. Every
# primary code of an error is listed.
SQLITE_CODES: Mapping[int, tuple[Follows, str]] = {
    sqlite3.SQLITE_ERROR: (
        Follows.STATEMENT,
        "The statement is invalid, or the tables are not current",
    ),
    sqlite3.SQLITE_INTERNAL: (Follows.AGAIN, "SQLite found an internal error"),
    sqlite3.SQLITE_PERM: (Follows.RECONNECT, "The file's permissions do not allow this"),
    sqlite3.SQLITE_ABORT: (Follows.AGAIN, "A rollback aborted the statement"),
    sqlite3.SQLITE_BUSY: (Follows.UNAVAILABLE, "Another process has the write lock"),
    sqlite3.SQLITE_LOCKED: (Follows.UNAVAILABLE, "A table is locked"),
    sqlite3.SQLITE_NOMEM: (Follows.UNAVAILABLE, "No memory is left"),
    sqlite3.SQLITE_READONLY: (
        Follows.RECONNECT,
        "The database is read-only: its file, its directory or its file system",
    ),
    sqlite3.SQLITE_INTERRUPT: (Follows.UNAVAILABLE, "A time limit ended the statement"),
    sqlite3.SQLITE_IOERR: (Follows.RECONNECT, "The file system failed"),
    sqlite3.SQLITE_CORRUPT: (Follows.RECONNECT, "The file is corrupted"),
    sqlite3.SQLITE_NOTFOUND: (Follows.STATEMENT, "The operation on the file is unknown"),
    sqlite3.SQLITE_FULL: (Follows.UNAVAILABLE, "The disk is full"),
    sqlite3.SQLITE_CANTOPEN: (Follows.RECONNECT, "The file cannot be opened, or is not there"),
    sqlite3.SQLITE_PROTOCOL: (Follows.RECONNECT, "The locks of the file cannot be acquired"),
    sqlite3.SQLITE_EMPTY: (Follows.STATEMENT, "Not used by SQLite"),
    sqlite3.SQLITE_SCHEMA: (Follows.AGAIN, "A migration changed the tables under the statement"),
    sqlite3.SQLITE_TOOBIG: (Follows.STATEMENT, "A value is too large"),
    sqlite3.SQLITE_CONSTRAINT: (Follows.STATEMENT, "A constraint is violated"),
    sqlite3.SQLITE_MISMATCH: (Follows.STATEMENT, "A value has the wrong type"),
    sqlite3.SQLITE_MISUSE: (Follows.STATEMENT, "The call of SQLite is invalid"),
    sqlite3.SQLITE_NOLFS: (
        Follows.UNAVAILABLE,
        "The file system does not support a file of this size",
    ),
    sqlite3.SQLITE_AUTH: (Follows.STATEMENT, "The statement is not allowed"),
    sqlite3.SQLITE_FORMAT: (Follows.STATEMENT, "Not used by SQLite"),
    sqlite3.SQLITE_RANGE: (Follows.STATEMENT, "A value has no parameter in the statement"),
    sqlite3.SQLITE_NOTADB: (Follows.RECONNECT, "The file is not a database"),
}


def judge(error: BaseException | None) -> Follows:
    """Classify an error of a driver, or an error of SQLAlchemy that wraps one."""
    match error:
        case DBAPIError():
            if error.connection_invalidated:
                return Follows.RECONNECT
            return (
                judge_sqlstate(_sqlstate_of(error))
                if _sqlstate_of(error)
                else judge(error.orig or error.__cause__)
            )
        case sqlite3.Error():
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            return SQLITE_CODES.get(code, (Follows.STATEMENT, ""))[0]
        case asyncpg.PostgresError():
            return judge_sqlstate(error.sqlstate)
        case _ if is_driver_failure(error):
            return Follows.RECONNECT
        case _ if (
            error is not None and error.__cause__ is not None and not isinstance(error, Unavailable)
        ):
            return judge(error.__cause__)  # SQLAlchemy's dialect wraps what asyncpg raised
        case _:
            return Follows.STATEMENT


def judge_sqlstate(sqlstate: str | None) -> Follows:
    """Classify a SQLSTATE of PostgreSQL. An unknown class counts as the statement's fault."""
    code = sqlstate or ""
    return (SQLSTATES.get(code) or SQLSTATES.get(code[:2]) or (Follows.STATEMENT, ""))[0]


def is_driver_failure(error: BaseException | None) -> bool:
    """Whether asyncpg itself failed.

    An InterfaceError that is also a ValueError is excluded: asyncpg could not encode a value, which
    is the caller's fault.
    """
    broken = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return isinstance(error, broken) and not isinstance(error, ValueError)


def is_time_limit(error: DBAPIError) -> bool:
    """Whether a statement exceeded its time limit."""
    if isinstance(error.orig, sqlite3.Error):
        code: int = getattr(error.orig, "sqlite_errorcode", 0)
        return code & 0xFF == sqlite3.SQLITE_INTERRUPT
    return _sqlstate_of(error) == QUERY_CANCELED


def unavailable(detail: str | None = None) -> Unavailable:
    return Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)


def _sqlstate_of(error: DBAPIError) -> str | None:
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    return sqlstate
