"""What is stored outlives a change of revision, forth and back; a change that fails leaves
everything as it was.

A later revision than the newest is planted in a copy of the history, as a release would bring it.
What a revision of ours moves has its own tests below.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Inspector, inspect, text
from sqlmodel import SQLModel

from store.migrate import RevisionUnknown, StoreIsNewer, alembic_config, migrate
from store.revisions import HISTORY, migration_state, revisions
from tests.store.schema.conftest import on

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


def history_with(revision: str, directory: Path) -> Path:
    shutil.copytree(HISTORY, directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "versions" / f"{PLANTED}_later.py").write_text(revision)
    return directory


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
        inspector = inspect(connection)
        return {
            name: (
                [
                    (column["name"], str(column["type"]), column["nullable"])
                    for column in inspector.get_columns(name)
                ],
                inspector.get_pk_constraint(name)["constrained_columns"],
                sorted(
                    (key["name"] or "", key["column_names"])
                    for key in inspector.get_unique_constraints(name)
                ),
                sorted(indexes_of(inspector, name)),
            )
            for name in sorted(inspector.get_table_names())
        }

    return dict(on(url, look))


def indexes_of(inspector: Inspector, name: str) -> list[str]:
    """What each is of, and where a partial one applies."""
    partial = f"{inspector.dialect.name}_where"
    return [
        f"{index['name']} {index['unique']} {index['column_names']} "
        f"{index.get('dialect_options', {}).get(partial)}"
        for index in inspector.get_indexes(name)
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


def test_downgrade_to_nothing_and_upgrade_creates_the_same_tables(filled: str) -> None:
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


def test_signal_of_an_accepted_receipt_is_one_that_an_earlier_version_knows(filled: str) -> None:
    of_kind = "SELECT count(*) FROM outbox WHERE kind = '{}'"
    row = (
        "INSERT INTO outbox (event_id, kind, fields, created_at) "
        "VALUES ('evt_1', 'accepted', '{}', 1)"
    )

    def insert(connection: Connection) -> int:
        connection.execute(text(row))
        return int(connection.execute(text(of_kind.format("expire"))).scalar_one())

    before = on(filled, insert)
    on(filled, lambda connection: command.downgrade(alembic_config(HISTORY, connection), "0020"))

    kinds = ("expire", "accepted")
    after = on(filled, lambda c: [c.execute(text(of_kind.format(kind))).scalar() for kind in kinds])
    assert after == [before + 1, 0]


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


def test_revisions_are_those_of_the_migrations_in_their_order() -> None:
    scripts = ScriptDirectory.from_config(alembic_config(HISTORY, None)).walk_revisions()

    assert revisions() == [script.revision for script in scripts]


@pytest.mark.parametrize(
    "path", sorted((HISTORY / "versions").glob("0*.py")), ids=lambda path: path.stem
)
def test_every_revision_can_be_downgraded(path: Path) -> None:
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
    # An earlier version does not know alerts about groups.
    kept = "SELECT id FROM alerts WHERE incident_id NOT LIKE 'grp%' ORDER BY id"
    before = on(filled, lambda connection: connection.scalars(text(kept)).all())

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


def test_alert_addresses_become_destinations_and_addresses_again(filled: str) -> None:
    addresses = ["zoe@shop.example", "ada@shop.example", "jörg@shop.example"]
    stored = (
        "SELECT channel, target, sealed_target, events FROM alert_destinations "
        "ORDER BY project_id, position"
    )
    migrate(filled, to="0015")
    kept = on(
        filled,
        lambda connection: connection.scalars(text("SELECT alert_emails FROM projects")).all(),
    )
    change = text("UPDATE projects SET alert_emails = :addresses")
    written = {"addresses": json.dumps([*addresses, addresses[0]])}
    on(filled, lambda connection: connection.execute(change, written))

    migrate(filled)
    destinations = on(filled, lambda connection: connection.execute(text(stored)).all())
    migrate(filled, to="0015")
    back = on(
        filled,
        lambda connection: connection.scalars(text("SELECT alert_emails FROM projects")).all(),
    )

    assert [json.loads(emails) for emails in kept] == [["ops@shop.example"]]
    assert [tuple(row) for row in destinations] == [("email", of, None, None) for of in addresses]
    assert [json.loads(emails) for emails in back] == [addresses]


def test_project_without_alert_addresses_has_no_destinations(filled: str) -> None:
    on(filled, lambda connection: connection.execute(text("DELETE FROM alert_destinations")))

    migrate(filled, to="0015")
    emails = on(
        filled,
        lambda connection: connection.scalars(text("SELECT alert_emails FROM projects")).all(),
    )
    migrate(filled)

    assert emails == ["[]"]
    assert rows_of(filled)["alert_destinations"] == []


def test_stored_alerts_are_mails_and_an_earlier_version_keeps_no_others(filled: str) -> None:
    channels = text("SELECT id, channel FROM alerts ORDER BY id")
    migrate(filled, to="0015")
    migrate(filled)
    stored = on(filled, lambda connection: connection.execute(channels).all())
    of_later = text("UPDATE alerts SET channel = 'pager' WHERE id = :id")
    on(filled, lambda connection: connection.execute(of_later, {"id": stored[0].id}))

    migrate(filled, to="0015")

    left = on(
        filled,
        lambda connection: connection.scalars(text("SELECT id FROM alerts ORDER BY id")).all(),
    )
    assert {row.channel for row in stored} == {"email"}
    assert left == [row.id for row in stored[1:]]
