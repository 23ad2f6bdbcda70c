"""What is stored outlives a change of revision, forth and back; a change that fails leaves
everything as it was.

A later revision than the newest is planted in a copy of the history, as a release would bring it.
What a revision of ours moves has its own tests below.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Inspector, inspect, text
from sqlmodel import SQLModel

from domain.audit import Actor, AuditAction
from domain.lifecycle import LifecycleState
from domain.security.login_backoff import ADDRESS
from domain.users import Role
from store.audit.log import record
from store.crypto.encryption import Sealer
from store.db.database import Database, run_alone
from store.migrate import (
    HISTORY,
    RevisionUnknown,
    StoreIsNewer,
    alembic_config,
    migrate,
    migration_state,
    revisions,
)
from store.people import invitations, members, sessions, users
from store.people import second_factor as factors
from store.people.login_attempts import charge, counter
from store.projects.projects import create_project
from store.receipts.stuck_runs import suspect_run
from store.schema import tables
from store.status.heartbeats import beat, write_fact
from tests.support.given import START, Story
from tests.support.postgres import TEMPLATE, Postgres

NEWEST = revisions()[0]
PLANTED = "9998"
LATER = f'''"""A later revision, planted by a test."""

import sqlalchemy as sa
from alembic import op

revision = "{PLANTED}"
down_revision = "{NEWEST}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("receipts") as receipts:
        priority = sa.Column("priority", sa.Text(), nullable=False, server_default="usual")
        receipts.add_column(priority)
    op.create_index("receipts_by_priority", "receipts", ["priority", "event_id"])


def downgrade() -> None:
    op.drop_index("receipts_by_priority", "receipts")
    with op.batch_alter_table("receipts") as receipts:
        receipts.drop_column("priority")
'''
BROKEN = LATER.replace(
    "\n\n\ndef downgrade", '\n    raise ValueError("half-way")\n\n\ndef downgrade'
)
TABLES = sorted(SQLModel.metadata.tables)
Rows = dict[str, list[dict[str, Any]]]  # of any column type


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The history with one more revision."""
    return history_with(LATER, tmp_path / "later")


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, sealer: Sealer) -> Iterator[str]:
    """The address of a store of its own, whatever becomes of its tables, that holds rows of every
    kind.
    """
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
        asyncio.run(fill(url, sealer))
        yield url
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create(template=TEMPLATE)
    asyncio.run(fill(postgres.url(name), sealer))
    yield postgres.url(name)
    postgres.drop(name)


async def fill(url: str, sealer: Sealer) -> None:
    """Receipts in every state, and the rows that belong to them."""
    database = Database.open(url)
    async with database.transaction() as session:
        created = await create_project(
            session,
            sealer,
            name="shop",
            livemode=False,
            repair_url="https://shop.example/repair",
            alert_emails=("ops@shop.example",),
            now=START,
        )
    story = Story(database, created.project)
    for position in LifecycleState:
        event_id, _ = await story.reach(position)
        await story.do(suspect_run, event_id, story.project.id)
    async with database.transaction() as session:
        link = await users.create_login_link(session, now=START)
        first = await users.redeem_login_link(session, token=link, now=START)
        assert first is not None
        await sessions.open_session(
            session, user_id=first.user_id, now=START, address="192.0.2.1", user_agent="a browser"
        )
        member = await users.create_user(session, email="ada@shop.example", now=START)
        asked = {"project_id": created.project.id, "role": Role.VIEWER, "now": START}
        await members.grant(session, user_id=member.user_id, **asked)
        await invitations.invite(
            session, email="bob@shop.example", invited_by=first.user_id, **asked
        )
        await factors.begin_totp(session, sealer, first.user_id, now=START)
        await factors.renew_recovery_codes(session, first.user_id, now=START)
        await charge(session, [counter("address", "192.0.2.1", ADDRESS)], now=START)
        session.add(
            tables.Identity(
                issuer="https://id.example", subject="1", user_id=first.user_id, created_at=START
            )
        )
        await beat(
            session,
            process="w1",
            role="worker",
            started_at=START,
            now=START,
            report={"pollers_alive": True},
        )
        await write_fact(session, "temporal_namespace_id", "of an engine")
        over = {"down_from": START, "up_at": START, "accepted_until": START, "done_at": START}
        session.add(tables.Outage(cursor="", **over))
        texts = {"project_id": created.project.id, "text": "seat 7"}
        session.add(tables.SearchText(event_id="evt_1", **texts))
        until = {"project_id": created.project.id, "until_at": START, "until_id": "evt_1"}
        session.add(tables.SearchProgress(**until))
        answer = {
            "endpoint": "result",
            "key": "key",
            "fingerprint": "0" * 64,
            "status": 202,
            "created_at": START,
        }
        session.add(tables.Idempotency(project_id=created.project.id, **answer))
        await record(session, sealer, Actor("usr_1"), AuditAction.SIGNED_IN, now=START)
    await database.close()


def history_with(revision: str, directory: Path) -> Path:
    shutil.copytree(HISTORY, directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "versions" / f"{PLANTED}_later.py").write_text(revision)
    return directory


def on(url: str, work: Callable[[Connection], Any]) -> Any:  # what the work returned
    returned: list[Any] = []
    asyncio.run(run_alone(url, lambda connection: returned.append(work(connection))))
    return returned[0]


def rows_of(url: str) -> Rows:
    """Everything that is stored, the planted column apart."""

    def read(connection: Connection) -> Rows:
        stored = {}
        for name in TABLES:
            found = [
                dict(row) for row in connection.execute(text(f"SELECT * FROM {name}")).mappings()
            ]
            stored[name] = sorted(({**row, "priority": None} for row in found), key=repr)
        return stored

    return dict(on(url, read))


def shape_of(url: str) -> dict[str, Any]:
    """Columns, keys and indexes of every table, as the database reports them."""

    def look(connection: Connection) -> dict[str, Any]:
        told = inspect(connection)
        return {
            name: (
                [
                    (column["name"], str(column["type"]), column["nullable"])
                    for column in told.get_columns(name)
                ],
                told.get_pk_constraint(name)["constrained_columns"],
                sorted(
                    (key["name"] or "", key["column_names"])
                    for key in told.get_unique_constraints(name)
                ),
                sorted(indexes_of(told, name)),
            )
            for name in sorted(told.get_table_names())
        }

    return dict(on(url, look))


def indexes_of(told: Inspector, name: str) -> list[str]:
    """What each is of, and where a partial one applies."""
    partial = f"{told.dialect.name}_where"
    return [
        f"{index['name']} {index['unique']} {index['column_names']} "
        f"{index.get('dialect_options', {}).get(partial)}"
        for index in told.get_indexes(name)
    ]


def test_later_revision_keeps_every_row_and_so_does_going_back(filled: str, later: Path) -> None:
    rows, shape = rows_of(filled), shape_of(filled)
    assert [name for name in TABLES if not rows[name]] == []

    migrate(filled, history=later)

    assert migration_state(filled)[0] == PLANTED
    assert rows_of(filled) == rows
    priorities = on(
        filled, lambda connection: connection.scalars(text("SELECT priority FROM receipts")).all()
    )
    assert priorities == ["usual"] * len(rows["receipts"])

    migrate(filled, to=NEWEST, history=later)

    assert migration_state(filled)[0] == NEWEST
    assert rows_of(filled) == rows
    assert shape_of(filled) == shape


def test_failed_revision_changes_nothing(filled: str, tmp_path: Path) -> None:
    broken = history_with(BROKEN, tmp_path / "broken")
    rows, shape = rows_of(filled), shape_of(filled)

    with pytest.raises(ValueError, match="half-way"):
        migrate(filled, history=broken)

    assert migration_state(filled)[0] == NEWEST
    assert (rows_of(filled), shape_of(filled)) == (rows, shape)


def test_down_to_nothing_and_up_again_makes_the_same_tables(filled: str) -> None:
    shape = shape_of(filled)

    on(filled, lambda connection: command.downgrade(alembic_config(HISTORY, connection), "base"))

    assert set(shape_of(filled)) == {"alembic_version"}
    migrate(filled)
    assert shape_of(filled) == shape


def test_pending_outage_is_applied_before_a_version_that_knows_none(filled: str) -> None:
    deadlines = (
        "SELECT event_id, deadline_at - timeout_at FROM receipts WHERE state = 'waiting' "
        "ORDER BY event_id"
    )
    results_due = (
        "SELECT replay_id, result_deadline_at FROM repairs WHERE state = 'awaiting_result' "
        "ORDER BY replay_id"
    )

    def record(connection: Connection) -> dict[str, int]:
        first = connection.execute(
            text("SELECT min(accepted_at) FROM receipts WHERE state = 'waiting'")
        ).scalar_one()
        values = {
            "down_from": first + 60_000,
            "up_at": first + 180_000,
            "accepted_until": first + 178_000,
        }
        connection.execute(
            text(
                "INSERT INTO outages (down_from, up_at, accepted_until, cursor) VALUES "
                "(:down_from, :up_at, :accepted_until, '')"
            ),
            values,
        )
        return {row[0]: row[1] for row in connection.execute(text(results_due))}

    before = on(filled, record)
    on(filled, lambda connection: command.downgrade(alembic_config(HISTORY, connection), "0007"))
    moved = on(filled, lambda connection: [row[1] for row in connection.execute(text(deadlines))])
    after = on(
        filled, lambda connection: {row[0]: row[1] for row in connection.execute(text(results_due))}
    )

    assert moved
    assert set(moved) == {120_000}
    assert {replay_id: at - before[replay_id] for replay_id, at in after.items()} == dict.fromkeys(
        before, 120_000
    )
    assert before


def test_older_version_touches_nothing_of_a_newer_store(filled: str, later: Path) -> None:
    migrate(filled, history=later)
    rows, shape = rows_of(filled), shape_of(filled)

    with pytest.raises(StoreIsNewer, match=rf"{PLANTED}.*makegood migrate --to {NEWEST}"):
        migrate(filled)

    assert (rows_of(filled), shape_of(filled)) == (rows, shape)


@pytest.mark.parametrize("revision", ["base", "9999", "head", "-1"])
def test_unknown_revision_is_rejected(filled: str, revision: str) -> None:
    rows = rows_of(filled)

    with pytest.raises(RevisionUnknown, match=NEWEST):
        migrate(filled, to=revision)

    assert rows_of(filled) == rows


@pytest.mark.parametrize(
    "path", sorted((HISTORY / "versions").glob("0*.py")), ids=lambda path: path.stem
)
def test_every_revision_can_be_gone_back_from(path: Path) -> None:
    assert "def downgrade() -> None:" in path.read_text(encoding="utf-8")
    assert path.stem.partition("_")[0] in revisions()


def test_earlier_version_admits_only_administrators(filled: str) -> None:
    on(
        filled,
        lambda connection: connection.execute(text("UPDATE users SET password_hash = 'hash'")),
    )
    on(
        filled,
        lambda connection: connection.execute(
            text("UPDATE sessions SET user_agent = 'kept by nobody'")
        ),
    )

    migrate(filled, to="0001")

    kept = "SELECT email FROM users WHERE password_hash IS NOT NULL"
    assert on(filled, lambda connection: connection.scalars(text(kept)).all()) == [None]
    assert (
        len(on(filled, lambda connection: connection.execute(text("SELECT * FROM sessions")).all()))
        == 1
    )

    migrate(filled)

    administrators = "SELECT email FROM users JOIN administrators ON user_id = users.id"
    assert on(filled, lambda connection: connection.scalars(text(administrators)).all()) == [None]
    assert on(
        filled, lambda connection: connection.scalars(text("SELECT address FROM sessions")).all()
    ) == [""]


def test_unsent_alerts_know_their_project_and_since_when_they_fail(filled: str) -> None:
    is_failing = (
        "UPDATE alerts SET tries = 3, failing_since = 5, ended_at = 6, end_reason = "
        "'refused' WHERE id = 1"
    )
    on(filled, lambda connection: connection.execute(text(is_failing)))
    before = on(
        filled,
        lambda connection: connection.scalars(text("SELECT id FROM alerts ORDER BY id")).all(),
    )

    migrate(filled, to="0005")
    migrate(filled)

    asked = (
        "SELECT id, project_id, failing_since = created_at, ended_at FROM alerts WHERE "
        "sent_at IS NULL ORDER BY id"
    )
    alerts = on(filled, lambda connection: connection.execute(text(asked)).all())
    projects = on(
        filled, lambda connection: connection.scalars(text("SELECT project_id FROM receipts")).all()
    )
    assert [row[0] for row in alerts] == before
    assert {row[1] for row in alerts} <= set(projects)
    assert [(row[0], bool(row[2])) for row in alerts if row[2] is not None] == [(1, True)]
    assert all(row[3] is None for row in alerts)
