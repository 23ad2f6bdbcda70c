"""What the shop keeps, in one SQLite file: the events it accepted, the work it owes, what it
granted, who called for repairs.

Everything is committed before it is acknowledged, and work that was not done is found again after a
restart. It calls nobody.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NONCE_SECONDS = 900

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    stripe_event_id TEXT PRIMARY KEY, event_type TEXT NOT NULL, reference TEXT NOT NULL,
      event_id TEXT, timeout_at TEXT
);
CREATE TABLE IF NOT EXISTS work (
    id INTEGER PRIMARY KEY, stripe_event_id TEXT NOT NULL, replay_id TEXT UNIQUE,
      fault TEXT NOT NULL,
    due_at REAL NOT NULL, outcome TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS work_first ON work (stripe_event_id) WHERE replay_id IS NULL;
CREATE TABLE IF NOT EXISTS grants (
    stripe_event_id TEXT PRIMARY KEY, reference TEXT NOT NULL, granted_by TEXT NOT NULL,
      at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS callbacks (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, verdict TEXT NOT NULL, replay_id TEXT,
      attempt TEXT, request TEXT
);
CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, seen_at REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Work:
    """Something still to be done:

    the effect of a paid order, the first time or because a repair asks for it.
    """

    id: int
    stripe_event_id: str
    event_type: str
    reference: str
    replay_id: str | None
    fault: str


class ShopState:
    """The shop's database; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.Lock()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Nothing may use it afterwards."""
        with self._lock:
            self._connection.close()

    def accept_order(self, stripe_event_id: str, event_type: str, reference: str) -> None:
        """Keep a paid event; Stripe may send the same one again."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO orders (stripe_event_id, event_type, reference) VALUES (?, ?, ?) ON"
                " CONFLICT DO NOTHING",
                (stripe_event_id, event_type, reference),
            )

    def plan_first_work(
        self, stripe_event_id: str, *, event_id: str, timeout_at: str, fault: str, due_at: float
    ) -> None:
        """The receipt is on record: the effect is owed, once."""
        with self._transaction() as db:
            db.execute(
                "UPDATE orders SET event_id = ?, timeout_at = ? WHERE stripe_event_id = ?",
                (event_id, timeout_at, stripe_event_id),
            )
            db.execute(
                "INSERT INTO work (stripe_event_id, fault, due_at) VALUES (?, ?, ?) ON CONFLICT DO"
                " NOTHING",
                (stripe_event_id, fault, due_at),
            )

    def plan_repair(self, stripe_event_id: str, *, replay_id: str, fault: str) -> bool:
        """A repair is owed, once for each replay_id; False for an order that is not ours."""
        with self._transaction() as db:
            known = db.execute(
                "SELECT 1 FROM orders WHERE stripe_event_id = ?", (stripe_event_id,)
            ).fetchone()
            if known is not None:
                db.execute(
                    "INSERT INTO work (stripe_event_id, replay_id, fault, due_at) VALUES (?, ?, ?,"
                    " ?) ON CONFLICT DO NOTHING",
                    (stripe_event_id, replay_id, fault, time.time()),
                )
            return known is not None

    def next_work(self) -> Work | None:
        """What is due and not done, oldest first."""
        with self._lock:
            row = self._connection.execute(
                "SELECT work.id, stripe_event_id, event_type, reference, replay_id, fault "
                "FROM work JOIN orders USING (stripe_event_id) "
                "WHERE outcome IS NULL AND due_at <= ? ORDER BY due_at, work.id LIMIT 1",
                (time.time(),),
            ).fetchone()
        return None if row is None else Work(*row)

    def postpone(self, work: Work, *, seconds: float) -> None:
        """Try it again later."""
        with self._transaction() as db:
            db.execute("UPDATE work SET due_at = ? WHERE id = ?", (time.time() + seconds, work.id))

    def finish(self, work: Work, outcome: str) -> None:
        """It needs no more doing."""
        with self._transaction() as db:
            db.execute("UPDATE work SET outcome = ? WHERE id = ?", (outcome, work.id))

    def grant(self, work: Work) -> bool:
        """The effect itself:

        the customer gets what was paid for, once however often this runs; False when it was there.
        """
        with self._transaction() as db:
            added = db.execute(
                "INSERT INTO grants VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (work.stripe_event_id, work.reference, work.replay_id or "order", time.time()),
            )
            return added.rowcount == 1

    def is_seen_nonce(self, nonce: str) -> bool:
        """Whether the nonce was seen before. It counts as seen from now on, restarts included."""
        now = time.time()
        with self._transaction() as db:
            db.execute("DELETE FROM nonces WHERE seen_at < ?", (now - NONCE_SECONDS,))
            return (
                db.execute(
                    "INSERT INTO nonces VALUES (?, ?) ON CONFLICT DO NOTHING", (nonce, now)
                ).rowcount
                == 0
            )

    def keep_callback(
        self,
        verdict: str,
        *,
        replay_id: str | None = None,
        attempt: str | None = None,
        request: str = "{}",
    ) -> None:
        """Remember that the repair endpoint was called, and whether the signature held."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO callbacks (at, verdict, replay_id, attempt, request) VALUES (?, ?, ?,"
                " ?, ?)",
                (time.time(), verdict, replay_id, attempt, request),
            )

    def shown(self) -> dict[str, Any]:
        """Everything, as JSON values, for those who watch the shop."""
        with self._lock:
            tables = {
                table: [
                    dict(row)
                    for row in self._connection.execute(f"SELECT * FROM {table} ORDER BY rowid")
                ]
                for table in ("orders", "work", "grants", "callbacks")
            }
        for callback in tables["callbacks"]:
            callback["request"] = json.loads(callback["request"])
        return tables

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
