"""A store of its own with rows of every kind, for migrations that move data."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection

from domain.audit import Actor, AuditAction
from domain.lifecycle import LifecycleState
from domain.repairing.bulk import Plan
from domain.repairing.rules import RuleSpec
from domain.search.saved_views import SavedView
from domain.security.login_backoff import ADDRESS
from domain.security.passkeys import Ceremony
from domain.users import Role
from store.audit.log import record
from store.crypto.encryption import Sealer
from store.db.database import Database, run_alone
from store.evidence.keys import create_evidence_key
from store.people import invitations, members, passkeys, saved_views, sessions, users
from store.people import second_factor as factors
from store.people.login_attempts import charge, counter
from store.people.passkey_challenges import issue_challenge
from store.projects.projects import create_project
from store.receipts.early_results.hold import hold_result
from store.receipts.reconcile.stuck_runs import suspect_run
from store.repairing.bulk_repairs import NewBulkRepair, add_bulk_repair
from store.repairing.rules import replace_rules
from store.schema import tables
from store.status.heartbeats import write_fact, write_heartbeat
from tests.support.given import START, Story, let_results_come_early, new_result
from tests.support.passkeys import new_passkey
from tests.support.postgres import TEMPLATE, Postgres
from tests.support.sources import watched


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
    for state in LifecycleState:
        event_id, _ = await story.reach(state)
        await story.do(suspect_run, event_id, story.project.id)
    await story.opened(amount=1_000, currency="EUR")
    early = new_result(story.project.id, provider_event_id="evt_early")
    await story.do(let_results_come_early, story.project.id)
    for _ in range(2):
        await story.do(hold_result, early)
    await watched(database, sealer, story.project.id)
    await _repair_many(story)
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
        view = SavedView("view_1", first.user_id, None, "Seats", "q=error%3Aseat", START)
        await saved_views.save_view(session, view)
        await factors.begin_totp(session, sealer, first.user_id, now=START)
        await factors.renew_recovery_codes(session, first.user_id, now=START)
        await passkeys.add_passkey(session, first.user_id, new_passkey(), name="Laptop", now=START)
        await issue_challenge(session, Ceremony.SIGN_IN, browser="a browser", now=START)
        await charge(session, [counter("address", "192.0.2.1", ADDRESS)], now=START)
        session.add(
            tables.Identity(
                issuer="https://id.example", subject="1", user_id=first.user_id, created_at=START
            )
        )
        await write_heartbeat(
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
        of_project = {"project_id": created.project.id}
        at = {f"{stream}_at": START for stream in ("accepted", "ended", "opened")}
        ids = {f"{stream}_id": "evt_1" for stream in ("accepted", "ended", "opened")}
        session.add(tables.CountProgress(**of_project, **at, **ids))
        of_day = {**of_project, "day": START, "effect_type": "access_unlock"}
        counts = {"outcome": "applied", "provider": "stripe", "currency": "EUR"}
        session.add(tables.DayCount(**of_day, **counts, receipts=3, billions=1, rest=5))
        session.add(tables.DurationCount(**of_day, measure="apply", bucket=7, receipts=3))
        of_type = {**of_project, "event_type": "invoice.paid"}
        session.add(tables.ReceiptHour(**of_type, hour=START, receipts=3, last_at=START))
        session.add(tables.Silence(**of_type, learned_minutes=90, silent_since=START))
        answer = {
            "endpoint": "result",
            "key": "key",
            "fingerprint": "0" * 64,
            "status": 202,
            "created_at": START,
        }
        session.add(tables.Idempotency(project_id=created.project.id, **answer))
        await create_evidence_key(session, sealer, now=START)
        await record(session, sealer, Actor("usr_1"), AuditAction.SIGNED_IN, now=START)
    await database.close()


async def _repair_many(story: Story) -> None:
    """A bulk repair, a rule, and the repair and the turn of one."""
    event_id, incident_id = await story.opened()
    plan = NewBulkRepair("outage", "usr_1", Plan(), False, [(incident_id, event_id)])
    spec = RuleSpec("again", None, None, None, None, 60, 1, 10, 3)
    async with story.database.transaction() as session:
        await add_bulk_repair(session, story.project.id, plan, START)
        (rule,) = await replace_rules(session, story.project.id, [spec])
        repair = {"replay_id": "rpl_1", "rule_id": rule.id, "event_id": event_id}
        session.add(tables.RuleRepair(at=START, **repair))
    await story.opened()


def on(url: str, work: Callable[[Connection], Any]) -> Any:  # what the work returned
    returned: list[Any] = []
    asyncio.run(run_alone(url, lambda connection: returned.append(work(connection))))
    return returned[0]
