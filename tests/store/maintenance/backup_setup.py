"""A store with a row in every table, its backup, and the rows of a restored store."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction
from domain.ids import EventId, IncidentId, UserId
from domain.lifecycle import LifecycleState
from domain.repairing.bulk import Plan
from domain.repairing.rules import RuleSpec
from domain.security.passkeys import Ceremony
from store.audit.log import record
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import Dialect
from store.evidence.keys import create_evidence_key
from store.maintenance.backup import TABLES, back_up, restore
from store.maintenance.backup_file import BackupReader, BackupWriter, written_whole
from store.people import passkeys
from store.people.passkey_challenges import issue_challenge
from store.receipts.early_results.hold import hold_result
from store.repairing.bulk_repairs import NewBulkRepair, add_bulk_repair
from store.repairing.rules import replace_rules
from store.revisions import revisions
from store.status import heartbeats
from store.status.heartbeats import INGEST
from tests.support.given import Story, let_results_come_early, new_result
from tests.support.passkeys import new_passkey
from tests.support.postgres import Postgres
from tests.support.sources import watched

REVISION = revisions()[0]
OPERATOR = Actor("cli:nadia", address="desk")
# A backup, and a restore, are entries of their own.
AUDITED = {"audit_log", "audit_head"}
Rows = dict[str, list[dict[str, Any]]]


@contextmanager
def another(dialect: Dialect, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of another database, empty and migrated."""
    if dialect == "sqlite":
        path = request.getfixturevalue("tmp_path") / "empty.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.borrow()
    yield postgres.url(name)
    postgres.give_back(name)


async def lived_in(story: Story, sealer: Sealer) -> None:
    """A row in every table and a receipt in every state; each instant, blob and flag is used."""
    for state in LifecycleState:
        await story.reach(state)
    await story.do(let_results_come_early, story.project.id)
    for _ in range(2):
        await story.do(hold_result, new_result(story.project.id, provider_event_id="evt_early"))
    await watched(story.database, sealer, story.project.id)
    event_id = await story.receipt()
    now = story.at
    later = now + timedelta(seconds=30)
    async with story.database.transaction() as session:
        receipts, alerts = TABLES["receipts"], TABLES["alerts"]
        await session.execute(
            update(receipts)
            .where(receipts.c.event_id == event_id)
            .values(payload=bytes(range(256)))
        )
        first = await session.scalar(select(alerts.c.id).order_by(alerts.c.id).limit(1))
        await session.execute(update(alerts).where(alerts.c.id == first).values(sent_at=now))
        await session.execute(
            update(alerts)
            .where(alerts.c.id != first)
            .values(due_at=later, tries=3, last_error="451")
        )
        await session.execute(
            insert(TABLES["outbox"]),
            {"event_id": event_id, "kind": "start", "fields": "{}", "created_at": now},
        )
        await session.execute(update(TABLES["outbox"]).values(claimed_until=later))
        run = {
            "event_id": event_id,
            "project_id": story.project.id,
            "suspected_at": now,
            "look_at": later,
        }
        found = {
            "found_at": later,
            "cause": "task_fails",
            "looks": 1,
            "restarts": 2,
            "restarted_at": later,
        }
        await session.execute(insert(TABLES["stuck_runs"]), run | found)
        answer = {
            "project_id": story.project.id,
            "endpoint": "result",
            "key": "k",
            "fingerprint": "f",
            "status": 422,
            "body": b"{}",
        }
        await session.execute(insert(TABLES["idempotency"]), answer | {"created_at": now})
        await session.execute(
            insert(TABLES["users"]), {"id": "usr_1", "email": "a@b.example", "created_at": now}
        )
        await session.execute(insert(TABLES["administrators"]), {"user_id": "usr_1", "since": now})
        member = {"project_id": story.project.id, "user_id": "usr_1"}
        await session.execute(insert(TABLES["members"]), {**member, "role": "owner", "since": now})
        outage = {
            "down_from": now,
            "up_at": later,
            "accepted_until": later,
            "cursor": event_id,
            "done_at": later,
        }
        await session.execute(insert(TABLES["outages"]), {**outage, "has_skipped": True})
        invited = {
            "id": "inv_1",
            "project_id": story.project.id,
            "email": "b@b.example",
            "role": "owner",
            "invited_by": "usr_1",
        }
        await session.execute(
            insert(TABLES["invitations"]), {"digest": "invitation", **invited, "expires_at": later}
        )
        await session.execute(
            insert(TABLES["login_links"]), {"digest": "link", "expires_at": later}
        )
        times = {"created_at": now, "seen_at": now, "expires_at": later}
        origin = {"address": "192.0.2.1", "user_agent": "a browser"}
        await session.execute(
            insert(TABLES["sessions"]), {"digest": "session", "user_id": "usr_1", **times, **origin}
        )
        of_user = {"user_id": "usr_1", "created_at": now}
        await session.execute(
            insert(TABLES["totp_factors"]),
            {"data_key": b"\x01", "sealed": b"\x02", "last_step": 1, **of_user},
        )
        view = {"id": "view_1", "name": "Ones", "query": "q=one", "project_id": story.project.id}
        await session.execute(insert(TABLES["saved_views"]), {**view, **of_user})
        await create_evidence_key(session, sealer, now=now)
        await repair_of_many(session, story, event_id)
        amounts = {"group_id": "grp_1", "currency": "EUR", "billions": 0, "rest": 1_250}
        await session.execute(insert(TABLES["group_amounts"]), amounts)
        silence = {"project_id": story.project.id, "event_type": "", "learned_minutes": 90}
        await session.execute(insert(TABLES["silences"]), {**silence, "silent_since": now})
        await session.execute(insert(TABLES["recovery_codes"]), {"digest": "code", **of_user})
        await passkeys.add_passkey(session, UserId("usr_1"), new_passkey(), name="Laptop", now=now)
        await issue_challenge(session, Ceremony.SIGN_IN, browser="a browser", now=now)
        await session.execute(
            insert(TABLES["identities"]),
            {"issuer": "https://id.example", "subject": "1", **of_user},
        )
        await session.execute(
            insert(TABLES["throttles"]),
            {"name": "n", "failures": 1, "open_at": now, "forgotten_at": later},
        )
        await heartbeats.write_fact(
            session, heartbeats.NAMESPACE_FACT, "the namespace of the old instance"
        )
        await heartbeats.write_fact(session, "another", "fact")
        for process, role, age in (
            ("api_1", INGEST, 9),
            ("api_2", INGEST, 4),
            ("api_3", "api", 1),
            ("worker-1", "worker", 1),
        ):
            at = now - timedelta(seconds=age)
            await heartbeats.write_heartbeat(
                session, process=process, role=role, started_at=at, now=at, report={"accepted": 1}
            )
        await record(session, sealer, Actor("usr_1"), AuditAction.SIGNED_IN, now=now)


async def repair_of_many(session: AsyncSession, story: Story, event_id: EventId) -> None:
    """A row in every table of bulk repairs and rules. Holds come with the state `held`."""
    member = IncidentId("inc_1"), event_id
    new = NewBulkRepair("outage", "usr_1", Plan(), True, [member])
    await add_bulk_repair(session, story.project.id, new, story.at)
    spec = RuleSpec("again", None, None, None, "db_*", 60, 1, 10, 3)
    (rule,) = await replace_rules(session, story.project.id, [spec])
    of_rule = {"event_id": event_id, "project_id": story.project.id}
    turn = {"incident_id": "inc_1", "since_at": story.at, "due_at": story.at}
    await session.execute(insert(TABLES["rule_turns"]), of_rule | turn)
    repair = {"replay_id": "rpl_1", "rule_id": rule.id, "event_id": event_id, "at": story.at}
    await session.execute(insert(TABLES["rule_repairs"]), repair)


async def rows_of(database: Database) -> Rows:
    """Every row of every table, in an order that does not depend on the database."""
    async with database.reading() as session:
        found = {
            name: (await session.execute(select(table))).mappings().all()
            for name, table in TABLES.items()
        }
    return {name: sorted((dict(row) for row in rows), key=repr) for name, rows in found.items()}


def without(rows: Rows, names: set[str]) -> Rows:
    return {name: found for name, found in rows.items() if name not in names}


async def backed_up(database: Database, sealer: Sealer, file: Path) -> dict[str, int]:
    with written_whole(file) as opened:
        writer = BackupWriter(opened)
        await back_up(
            database,
            writer,
            sealer=sealer,
            actor=OPERATOR,
            made_by="0.1.0",
            revision=REVISION,
            progress=lambda rows: None,
        )
    return writer.rows


async def restored(database: Database, sealer: Sealer, file: Path) -> dict[str, int]:
    with BackupReader.open(file) as opened:
        return await restore(
            database, opened, sealer=sealer, actor=OPERATOR, progress=lambda rows: None
        )
