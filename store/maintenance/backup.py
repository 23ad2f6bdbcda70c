"""Copies a whole store into a backup, in one snapshot, and back into an empty store, in one
transaction.

The file contains the same rows for SQLite and PostgreSQL, so it can be restored into either. It
does not contain what must not come back: sign-in links, invitations, sessions and heartbeats of
processes. Called by `cli.commands.backup`. A backup does not disturb a running store.
"""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Select,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.sources.source import SourceKind
from store.audit import log as audit
from store.crypto.encryption import Sealer
from store.crypto.root_secret import root_in_force
from store.db.database import MIGRATION_LOCK, Database
from store.maintenance.backup_file import (
    ROWS_AT_ONCE,
    BackupError,
    BackupReader,
    BackupWriter,
    fingerprint,
)
from store.schema import tables
from store.schema.tables import ALERTS, OUTBOX, SOURCES, TABLES
from store.status.heartbeats import INGEST, NAMESPACE_FACT, read_heartbeats, write_fact

# A closed session or a used link must not become valid again.
# The search index and the counts are made again from the receipts.
LEFT_OUT = frozenset(
    {
        *("login_links", "sessions", "invitations", "throttles", "passkey_challenges"),
        *("search_texts", "search_progress"),
        *("count_progress", "day_counts", "duration_counts", "receipt_hours"),
    }
)
# Tables that may have rows in a store that is still unused.
OF_NO_WEIGHT = LEFT_OUT | {"heartbeats", "facts", "outages"}
RUNNING_SECONDS = 10.0
# No namespace has this id, so every open receipt is started again in the next namespace.
RESTORED = "restored from a backup"

Progress = Callable[[int], None]  # called with the number of rows done so far


async def back_up(
    database: Database,
    writer: BackupWriter,
    *,
    sealer: Sealer,
    actor: Actor,
    made_by: str,
    revision: str,
    progress: Progress,
) -> None:
    """Write every row of one snapshot of the store. `revision` is that of this version's tables.

    The audit log records the backup before the first row leaves the store.

    Raises: BackupError when the file cannot be written, or the tables are of another version;
        Unavailable.
    """
    async with database.transaction() as session:
        await _refuse_other_revision(session, revision)
        now, subject = await database.now(session), Subject(SubjectType.STORE)
        await audit.record(
            session, sealer, actor, AuditAction.BACKUP_STARTED, now=now, subject=subject
        )
    async with database.reading() as session:
        await _refuse_other_revision(session, revision)
        # Read in this snapshot, because the root secret may be replaced meanwhile.
        root, made_at = await root_in_force(session, sealer), await database.now(session)
        writer.begin(key=root.backup_key, made_at=made_at, made_by=made_by, revision=revision)
        for name, table in _backed_up_tables().items():
            writer.begin_table(name, table.columns.keys())
            async for rows in _stored(session, table):
                writer.add(rows)
                progress(sum(writer.rows.values()))
    writer.end()


async def restore(
    database: Database, backup: BackupReader, *, sealer: Sealer, actor: Actor, progress: Progress
) -> dict[str, int]:
    """Store every row of the backup, or none of them. Return the number of rows of each table.

    The audit log continues with an entry for the restore. Leases of the outbox are cleared, and
    unsent alerts are due at once.

    Raises: BackupError when the backup is damaged, or the store not empty; Unavailable when the
        store cannot be written.
    """
    known = _backed_up_tables()
    counted = dict.fromkeys(known, 0)
    async with database.transaction() as session:
        if database.dialect == "postgresql":
            await session.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        await refuse_unless_empty(session, await database.now(session))
        for name in OF_NO_WEIGHT:
            await session.execute(delete(TABLES[name]))
        for batch in backup.batches(fitting_key(backup, sealer)):
            table = known.get(batch.table)
            if table is None or set(batch.columns) != set(table.columns.keys()):
                raise BackupError(
                    f"the backup has a table {batch.table} that this version of Makegood does not"
                    " know"
                )
            await session.execute(
                insert(table), [_row(table, batch.columns, row) for row in batch.rows]
            )
            counted[batch.table] += len(batch.rows)
            progress(sum(counted.values()))
        await _make_due(session)
        await write_fact(session, NAMESPACE_FACT, RESTORED)
        if database.dialect == "postgresql":
            await _reset_sequences(session)
        details = {"made_at": backup.header.made_at}
        now, subject = await database.now(session), Subject(SubjectType.STORE)
        await audit.record(
            session,
            sealer,
            actor,
            AuditAction.STORE_RESTORED,
            now=now,
            subject=subject,
            details=details,
        )
    return counted


def fitting_key(backup: BackupReader, sealer: Sealer) -> bytes:
    """The key of the known root secret that authenticates the backup; the current one's if none
    does.
    """
    keys = [root.backup_key for root in sealer.roots]
    return next((key for key in keys if fingerprint(key) == backup.header.key_fingerprint), keys[0])


def check_fits(backup: BackupReader, *, key: bytes, revision: str) -> None:
    """Return if this version of Makegood can restore the backup and `key` authenticates it.

    Raises: BackupError.
    """
    header = backup.header
    if header.key_fingerprint != fingerprint(key):
        raise BackupError(
            "the backup was made under another secret key: set MAKEGOOD_SECRET_KEY to that of the "
            "instance that made it (or MAKEGOOD_SECRET_KEY_PREVIOUS, if it was replaced since), "
            "without which its API keys and sealed secrets are of no use"
        )
    if header.revision != revision:
        raise BackupError(
            f"the backup's tables are at {header.revision}, those of this version at {revision}: "
            f"restore it with the version of Makegood that made it, {header.made_by}, "
            "and let a newer one take the store over with `makegood migrate`"
        )


async def refuse_unless_empty(session: AsyncSession, now: datetime) -> None:
    """Return if the store is unused and no process is running on it.

    Raises: BackupError.
    """
    used = {name: table for name, table in TABLES.items() if name not in OF_NO_WEIGHT}
    filled = [
        name for name, table in used.items() if await session.scalar(select(exists(table.select())))
    ]
    if filled:
        raise BackupError(
            f"the store is not empty, it has {', '.join(filled)}: restore into a new one, "
            "named by MAKEGOOD_DATABASE_URL or MAKEGOOD_DATA_DIR; nothing was changed"
        )
    if any(
        heartbeat.age_seconds < RUNNING_SECONDS for heartbeat in await read_heartbeats(session, now)
    ):
        raise BackupError(
            "an API or a worker is at work on this store: stop it, and try again 10 seconds later;"
            " nothing was changed"
        )


async def _refuse_other_revision(session: AsyncSession, revision: str) -> None:
    stored = await session.scalar(text("SELECT version_num FROM alembic_version"))
    if stored != revision:
        raise BackupError(
            f"the store's tables are at {stored}, this version needs {revision}: run `makegood"
            " migrate` first"
        )


def _backed_up_tables() -> dict[str, Table]:
    return {name: _plain(table) for name, table in TABLES.items() if name not in LEFT_OUT}


def _plain(table: Table) -> Table:
    """The table with instants as stored milliseconds, so that nothing is rounded or shifted."""
    columns = [
        Column(of.name, BigInteger() if isinstance(of.type, tables.Instant) else of.type)
        for of in table.columns
    ]
    return Table(table.name, MetaData(), *columns)


# Any: JSON, by the column
async def _stored(session: AsyncSession, table: Table) -> AsyncIterator[list[list[Any]]]:
    sealed = [i for i, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)]
    found = await session.stream(_selected(table), execution_options={"yield_per": ROWS_AT_ONCE})
    async for part in found.partitions():
        rows = [list(row) for row in part]
        for row in rows:
            for i in sealed:
                row[i] = None if row[i] is None else b64encode(row[i]).decode()
        yield rows


def _selected(table: Table) -> Select[Any]:
    if table.name != "heartbeats":
        return select(table)
    # Only the last heartbeat of ingest: it was up until then, and an outage is counted from there.
    return select(table).where(table.c.role == INGEST).order_by(table.c.at.desc()).limit(1)


# Any: JSON, by the column
def _row(table: Table, columns: tuple[str, ...], values: Any) -> dict[str, Any]:
    row = dict(zip(columns, values, strict=True))
    for column in table.columns:
        if isinstance(column.type, LargeBinary) and row[column.name] is not None:
            row[column.name] = b64decode(row[column.name])
    return row


async def _make_due(session: AsyncSession) -> None:
    """Clear leases, whose holders are gone, and make unsent alerts due: the mail server may work
    now. Temporal may have no Schedule of a source: the worker makes each again.
    """
    await session.execute(update(OUTBOX).values(claimed_until=None))
    await session.execute(
        update(ALERTS).where(ALERTS.c.sent_at.is_(None)).values(due_at=ALERTS.c.created_at)
    )
    listing = SOURCES.c.kind.not_in([kind.value for kind in SourceKind if kind.is_webhook])
    await session.execute(update(SOURCES).where(listing).values(scheduled_version=0))


async def _reset_sequences(session: AsyncSession) -> None:
    """Set PostgreSQL's sequences to the highest stored ids. SQLite has none."""
    for table in TABLES.values():
        if (column := table.autoincrement_column) is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            await session.execute(select(func.setval(sequence, func.max(column))))
