"""Runs a `makegood` command with a bug planted in it, so that the harness can be shown to catch
one: `planted BUG api|worker`.

Each bug is one that a release could have: the answer before the commit, no unique key, the mail
before its record. Only the harness's own tests run this.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import activities.alerts.send
import store.ingest.insert_receipts
from activities.alerts.delivery import AlertDelivery
from store.db.sql import SqliteStatements, Statements
from store.ingest.connection import SqliteIngestConnection

COMMITTED_AFTER_SECONDS = 1.0
RECORDED_AFTER_SECONDS = 8.0


def answer_before_commit() -> None:
    """Ingest acknowledges first, and commits a second later or with the next request."""
    pending: list[asyncio.TimerHandle] = []

    def commit(connection: sqlite3.Connection) -> None:
        for timer in pending:
            timer.cancel()
        pending.clear()
        if connection.in_transaction:
            connection.execute("COMMIT")

    @asynccontextmanager
    async def transaction(
        door: SqliteIngestConnection, *, short_lock_timeout: bool = False
    ) -> AsyncIterator[Statements]:
        connection = door._connect()
        if not connection.in_transaction:
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("BEGIN IMMEDIATE")
        yield SqliteStatements(connection)
        if not pending:
            pending.append(
                asyncio.get_running_loop().call_later(COMMITTED_AFTER_SECONDS, commit, connection)
            )

    SqliteIngestConnection.transaction = transaction  # type: ignore[method-assign,assignment]  # this is the bug


def no_unique_key() -> None:
    """The key and identity of a receipt are not unique: a repeat does not find the first one."""
    store.ingest.insert_receipts._SQLITE_KEY = store.ingest.insert_receipts._SQLITE_KEY.partition(
        "ON CONFLICT"
    )[0].replace("INSERT", "INSERT OR REPLACE", 1) + (" RETURNING 1, $6")
    store.ingest.insert_receipts._SQLITE_RECEIPT = (
        store.ingest.insert_receipts._SQLITE_RECEIPT.partition("ON CONFLICT")[0] + " RETURNING 1"
    )


def mail_before_record() -> None:
    """A mail is recorded long after it is sent, and without a lease: others send it meanwhile."""
    activities.alerts.send.LEASE_SECONDS = 0
    record: Callable[..., Any] = AlertDelivery.record

    async def record_late(self: AlertDelivery, *arguments: Any) -> None:
        await asyncio.sleep(RECORDED_AFTER_SECONDS)
        await record(self, *arguments)

    activities.alerts.send.RECORD_SECONDS = 20
    AlertDelivery.record = record_late  # type: ignore[method-assign]  # this is the bug


BUGS: dict[str, Callable[[], None]] = {
    "answer_before_commit": answer_before_commit,
    "no_unique_key": no_unique_key,
    "mail_before_record": mail_before_record,
}
# What the second bug wants of the store: its tables without the keys that are unique.
WITHOUT_UNIQUE_KEYS = (
    "CREATE TABLE bare AS SELECT * FROM receipts",
    "DROP TABLE receipts",
    "ALTER TABLE bare RENAME TO receipts",
    "CREATE INDEX bare_receipts ON receipts (event_id)",
)


if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    sys.argv[1:] = sys.argv[2:]
    from cli.main import main

    main()
