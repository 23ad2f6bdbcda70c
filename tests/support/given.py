"""Receipts and results as an app would send them, and the life of a receipt in the store, step by
step.

`Story` runs each step in a transaction of its own, at an instant of the test's choice. `reach`
takes a new receipt to any state of the lifecycle by the steps that lead there.
"""

import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import text

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.lifecycle import LifecycleState
from domain.projects import Project
from domain.receipts import (
    EffectType,
    EventType,
    ExpectedReceipt,
    NewReceipt,
    Provider,
    timeout_span,
)
from domain.repairing.holds import Hold
from domain.results import NewResult, ResultStatus
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.db.sql import SessionStatements, Statements
from store.receipts.attempts import AttemptBegun, begin_attempt, record_attempt
from store.receipts.deadlines import Opened, open_incident
from store.receipts.expected import accept_expected, expect_receipts
from store.receipts.held.holds import NewHold, add_hold
from store.receipts.operator_actions import resolve_manually
from store.receipts.repairs import request_repair
from store.receipts.results import AppliedResult, apply_result
from store.receipts.state import ReceiptSnapshot, load_snapshot
from store.schema import tables

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OPERATOR = "usr_operator"

T = TypeVar("T")
_numbers = itertools.count(1)


def new_receipt(project_id: ProjectId, **changes: Any) -> NewReceipt:
    """A valid receipt of a Stripe event that no other one names."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "project_id": project_id,
        "livemode": False,
        "provider": Provider.STRIPE,
        "provider_event_id": f"evt_stripe_{number}",
        "stripe_event_id": f"evt_stripe_{number}",
        "event_type": EventType.INVOICE_PAID,
        "effect_type": EffectType.ACCESS_UNLOCK,
        "internal_reference": f"order {number}",
        "shopify_shop_domain": None,
        "occurred_at": START - timedelta(seconds=5),
        "timeout_minutes": 30.0,
        "request_id": f"req_{number}",
    }
    return NewReceipt(**(values | changes))


async def let_results_come_early(
    st: Statements, project_id: ProjectId, _: datetime | None = None
) -> None:
    """Let the project hold results that come before their receipt."""
    await st.fetch(
        "UPDATE projects SET early_results = 'hold' WHERE id = $1 RETURNING id", project_id
    )


async def keep_incidents_apart(
    st: Statements, project_id: ProjectId, _: datetime | None = None
) -> None:
    """Let each incident be a group of its own, so that each is alerted by itself."""
    await st.fetch("UPDATE projects SET group_window_minutes = 0 WHERE id = $1", project_id)


def expected_receipt(project_id: ProjectId, **changes: Any) -> ExpectedReceipt:
    """A Stripe event that a source saw, and no other receipt names."""
    new = new_receipt(project_id)
    values = {name: getattr(new, name) for name in ExpectedReceipt.__slots__ if hasattr(new, name)}
    values |= {"within_minutes": 15.0, "source_id": "src_stripe"}
    return ExpectedReceipt(**(values | changes))


def new_result(
    project_id: ProjectId, event_id: EventId | None = None, status: str = "success", **changes: Any
) -> NewResult:
    """A valid result of the receipt."""
    values: dict[str, Any] = {
        "project_id": project_id,
        "event_id": event_id,
        "provider_event_id": None,
        "stripe_event_id": None,
        "provider": None,
        "effect_type": None,
        "status": ResultStatus(status),
        "error_code": None,
        "error_message": None,
        "replay_id": None,
        "request_id": "req_result",
    }
    return NewResult(**(values | changes))


class Story:
    """One project's receipts; `at` is the instant of the next step."""

    def __init__(self, database: Database, project: Project) -> None:
        self.database = database
        self.project = project
        self.at = START

    async def do(self, move: Callable[..., Awaitable[T]], *values: Any, **named: Any) -> T:
        """The result of the step, after its transaction has committed.

        The step gets the statements first and `now` last.
        """
        async with self.database.transaction() as session:
            return await move(SessionStatements(session), *values, self.at, **named)

    def later(self, **span: float) -> None:
        """Move the instant of the next step forward."""
        self.at += timedelta(**span)

    async def receipt(self, **changes: Any) -> EventId:
        """A receipt accepted now, as ingest would have stored it."""
        (event_id,) = await self.receipts(1, **changes)
        return event_id

    async def receipts(self, count: int, **changes: Any) -> list[EventId]:
        """Receipts accepted now, all in one transaction."""
        rows = [self._receipt_row(**changes) for _ in range(count)]
        event_ids = [EventId(row.event_id) for row in rows]
        async with self.database.transaction() as session:
            session.add_all(rows)
        return event_ids

    def _receipt_row(self, **changes: Any) -> tables.Receipt:
        new = new_receipt(self.project.id, **changes)
        event_id = new_event_id()
        timeout_at = self.at + timeout_span(new.timeout_minutes)
        values = {
            name: getattr(new, name)
            for name in new.__slots__
            if name not in {"timeout_minutes", "payload"}
        }
        return tables.Receipt(
            event_id=event_id,
            state="waiting",
            accepted_at=self.at,
            timeout_at=timeout_at,
            deadline_at=timeout_at,
            flags="",
            **values,
        )

    async def expected(self, **changes: Any) -> EventId:
        """A receipt that a source expects, within 15 minutes."""
        (event_id,) = await self.expect(expected_receipt(self.project.id, **changes))
        return event_id

    async def expect(self, *events: ExpectedReceipt) -> Sequence[EventId]:
        """A source sees the events now, in one transaction."""
        return await self.do(expect_receipts, events)

    async def accept(self, event_id: EventId, **changes: Any) -> None:
        """The app sends the receipt of an expected event."""
        (stored,) = await self.rows("receipts", event_id)
        of_event = {
            "provider": Provider(stored["provider"]),
            "provider_event_id": stored["provider_event_id"],
            "effect_type": EffectType(stored["effect_type"]),
        }
        new = new_receipt(self.project.id, **of_event | changes)
        await self.do(accept_expected, event_id, new)

    async def result(
        self, event_id: EventId, status: str = "success", **changes: Any
    ) -> AppliedResult:
        """The app reports a result."""
        return await self.do(apply_result, new_result(self.project.id, event_id, status, **changes))

    async def opened(self, **changes: Any) -> tuple[EventId, IncidentId]:
        """A receipt whose deadline passed without a result."""
        event_id = await self.receipt(**changes)
        self.later(minutes=30)
        opened = await self.do(open_incident, event_id)
        assert isinstance(opened, Opened)
        return event_id, opened.incident_id

    async def refund(self, event_id: EventId) -> EventId:
        """A refund of the same reference, later than the receipt: it makes a repair doubtful."""
        (stored,) = await self.rows("receipts", event_id)
        return await self.receipt(
            event_type=EventType.CHARGE_REFUNDED,
            effect_type=EffectType.CREDIT_DEDUCTION,
            internal_reference=stored["internal_reference"],
            occurred_at=self.at,
        )

    async def repairing(self) -> tuple[EventId, ReplayId]:
        """A receipt whose repair was requested."""
        event_id, _ = await self.opened()
        begun = await self.do(request_repair, event_id, requested_by=OPERATOR)
        return event_id, begun.replay_id

    async def hold(self, **of: Any) -> Hold:
        """A hold that is added now, of all incidents unless `of` names some."""
        new = NewHold(
            **{"effect_type": None, "internal_reference": None, "until": None} | of,
            reason="the shop is closed",
        )
        async with self.database.transaction() as session:
            return await add_hold(session, self.project.id, new, self.at, created_by=OPERATOR)

    async def held(self) -> tuple[EventId, ReplayId]:
        """A receipt whose repair is held, by a hold of its reference alone."""
        reference = f"held {next(_numbers)}"
        event_id, _ = await self.opened(internal_reference=reference)
        await self.hold(internal_reference=reference)
        begun = await self.do(request_repair, event_id, requested_by=OPERATOR)
        return event_id, begun.replay_id

    async def attempt(
        self, event_id: EventId, replay_id: ReplayId, **outcome: Any
    ) -> LifecycleState:
        """One attempt, begun and recorded."""
        begun = await self.do(begin_attempt, event_id, replay_id)
        assert isinstance(begun, AttemptBegun)
        outcome = {"status": 200, "duration_ms": 12, "error_class": None, "ending": None} | outcome
        return await self.do(record_attempt, event_id, replay_id, begun.number, **outcome)

    async def awaiting_result(self) -> tuple[EventId, ReplayId]:
        """A receipt whose repair was accepted by the app's endpoint."""
        event_id, replay_id = await self.repairing()
        await self.attempt(event_id, replay_id, ending="accepted")
        return event_id, replay_id

    async def reach(self, state: LifecycleState) -> tuple[EventId, ReplayId | None]:
        """A new receipt in that state, and its active or last repair."""
        match state:
            case LifecycleState.EXPECTED:
                return await self.expected(), None
            case LifecycleState.WAITING:
                return await self.receipt(), None
            case LifecycleState.APPLIED:
                event_id = await self.receipt()
                await self.result(event_id)
                return event_id, None
            case LifecycleState.OPEN:
                event_id, replay_id = await self.repairing()
                await self.attempt(event_id, replay_id, status=400, ending="rejected")
                return event_id, replay_id
            case LifecycleState.HELD:
                return await self.held()
            case LifecycleState.CALLING:
                return await self.repairing()
            case LifecycleState.AWAITING_RESULT:
                return await self.awaiting_result()
            case LifecycleState.RECOVERED:
                event_id, replay_id = await self.awaiting_result()
                await self.result(event_id, replay_id=replay_id)
                return event_id, replay_id
            case LifecycleState.CLOSED:
                event_id, replay_id = await self.awaiting_result()
                await self.do(
                    resolve_manually,
                    await self.incident_id(event_id),
                    reason="refunded",
                    requested_by=OPERATOR,
                )
                return event_id, replay_id

    async def reach_unreceipted(self, state: LifecycleState) -> EventId:
        """A new receipt in that state that a source expected, and that the app never sent."""
        event_id = await self.expected()
        match state:
            case LifecycleState.WAITING:
                raise AssertionError("a waiting receipt has come")
            case LifecycleState.EXPECTED:
                return event_id
            case LifecycleState.APPLIED:
                await self.result(event_id)
                return event_id
        self.later(minutes=15)
        await self.do(open_incident, event_id)
        match state:
            case LifecycleState.HELD | LifecycleState.CALLING | LifecycleState.AWAITING_RESULT:
                if state is LifecycleState.HELD:
                    (stored,) = await self.rows("receipts", event_id)
                    await self.hold(internal_reference=stored["internal_reference"])
                begun = await self.do(request_repair, event_id, requested_by=OPERATOR)
                if state is LifecycleState.AWAITING_RESULT:
                    await self.attempt(event_id, begun.replay_id, ending="accepted")
            case LifecycleState.RECOVERED:
                await self.result(event_id)
            case LifecycleState.CLOSED:
                incident_id = await self.incident_id(event_id)
                closing = {"reason": "refunded", "requested_by": OPERATOR}
                await self.do(resolve_manually, incident_id, **closing)
        return event_id

    async def snapshot(self, event_id: EventId) -> ReceiptSnapshot:
        async with self.database.reading() as session:
            return await load_snapshot(SessionStatements(session), event_id)

    async def incident_id(self, event_id: EventId) -> IncidentId:
        return (await self.snapshot(event_id)).incident

    async def rows(self, table: str, event_id: EventId) -> list[dict[str, Any]]:
        """The rows of a table that belong to the receipt, as they were written; JSON columns are
        read.
        """
        async with self.database.reading() as session:
            found = await session.execute(
                text(f"SELECT * FROM {table} WHERE event_id = :event_id"), {"event_id": event_id}
            )
            rows = [dict(row) for row in found.mappings()]
        for row in rows:
            if "fields" in row:
                row["fields"] = json.loads(row["fields"])
        return sorted(rows, key=lambda row: row.get("id") or row.get("replay_id") or 0)

    async def timeline(self, event_id: EventId) -> list[str]:
        """The kinds of its timeline entries, in order."""
        return [row["kind"] for row in await self.rows("timeline", event_id)]

    async def outbox(self, event_id: EventId) -> list[tuple[str, dict[str, Any]]]:
        """The receipt's signals that wait in the outbox, in order."""
        return [(row["kind"], row["fields"]) for row in await self.rows("outbox", event_id)]

    async def alerts(self, event_id: EventId) -> list[tuple[str, str, str]]:
        """(kind, replay_id, destination) of its alerts."""
        return [
            (row["kind"], row["replay_id"], row["destination"])
            for row in await self.rows("alerts", event_id)
        ]
