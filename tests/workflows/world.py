"""A complete system around one store: Temporal, a worker in this process, SMTP, an endpoint.

A workflow's time passes only by the seconds that a test takes, until `advance` moves the store's
clock and the workflow's together. Also used by `tests/histories/record.py`.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper, TimeSkippingConfig, WorkflowEnvironment

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.callback.send import CallbackRules, RuntimeSources
from activities.callback.transport import exchange
from domain.ids import EventId, ReplayId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Clock, Database
from store.db.sql import SessionStatements
from store.projects.projects import create_project
from store.receipts import operator_actions as acts
from store.receipts.outbox import count, enqueue_start_again
from store.receipts.repairs import request_repair
from store.receipts.results import apply_result
from store.receipts.triage import deadline_moves
from store.status.heartbeats import NAMESPACE_FACT, read_fact
from tests.activities.alerts.by_mail import channels_by_mail
from tests.console.receiver import Receiver, receiving
from tests.histories.fingerprint import local_activity_of
from tests.support.given import OPERATOR, Story, new_result
from tests.support.waiting import wait_until_async
from tests.workflows.smtp_server import MailHandler, running_mail_server, text_of
from worker.build import BuiltWorker, WorkerDependencies, build_worker
from worker.temporal.connect import prepare_namespace, read_namespace_id
from worker.temporal.failure_converter import SHORT_FAILURES
from workflows.messages import workflow_id

ROOT = Path(__file__).parents[2]
# The workflow's clock moves further than the store's, which must have passed the deadline by then.
MARGIN = timedelta(milliseconds=500)


class World:
    """One project in one store, and the system around it."""

    def __init__(
        self,
        database: Database,
        created: CreatedProject,
        *,
        skipper: TimeSkipper,
        build: Callable[[], BuiltWorker],
        post: MailHandler,
        receiver: Receiver,
    ) -> None:
        self.database = database
        self.project = created.project
        self.signing_secret = created.signing_secret
        self.client = skipper.client
        self.built = build()
        self.post = post
        self.receiver = receiver
        self._skipper = skipper
        self._story = Story(database, created.project)
        self._build = build
        self._is_spent = False
        self._running = AsyncExitStack()

    async def start_worker(self) -> None:
        """Start the worker. After a stop, start another one."""
        if self._is_spent:
            self.built, self._is_spent = self._build(), False
        await self._running.enter_async_context(self.built.running())

    async def stop_worker(self) -> None:
        """Stop the worker. Temporal and the store continue alone."""
        self._is_spent = True
        await self._running.aclose()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run a worker during the block, unless the block stops it."""
        await self.start_worker()
        try:
            yield
        finally:
            await self.stop_worker()

    async def accept(self, *, enqueue: bool = True, **changes: Any) -> EventId:
        """Accept a receipt now. Unless `enqueue` is False, also write its outbox row."""
        event_id = await (await self._now()).receipt(**changes)
        if enqueue:
            await self.enqueue_start(event_id)
        return event_id

    async def expect(self, **changes: Any) -> EventId:
        """A source sees an event now."""
        return await (await self._now()).expected(**changes)

    async def accept_expected(self, event_id: EventId, **changes: Any) -> None:
        """The app sends the receipt of an expected event now."""
        await (await self._now()).accept(event_id, **changes)

    async def enqueue_start(self, event_id: EventId) -> None:
        """Insert a `start` row into the outbox."""
        async with self.database.transaction() as session:
            await enqueue_start_again(session, event_id, await self.database.now(session))

    async def accept_with_success(self) -> EventId:
        """Accept a receipt and its success, both in the outbox before the dispatcher runs."""
        event_id = await self.accept(enqueue=False)
        async with self.database.transaction() as session:
            now = await self.database.now(session)
            await enqueue_start_again(session, event_id, now)
            await apply_result(
                SessionStatements(session), new_result(self.project.id, event_id), now
            )
        return event_id

    async def report(self, event_id: EventId, status: str, **changes: Any) -> None:
        """The app reports a result."""
        await (await self._now()).result(event_id, status, **changes)

    async def reprocess(self, event_id: EventId) -> ReplayId:
        """An operator presses Reprocess in the console."""
        begun = await (await self._now()).do(request_repair, event_id, requested_by=OPERATOR)
        return begun.replay_id

    async def crowd(self, event_id: EventId, count: int) -> None:
        """Request a repair `count` times at once, half of them in the console."""
        story = await self._now()
        requests: list[Awaitable[object]] = []
        for _ in range(count // 2):
            requests.append(story.do(request_repair, event_id, requested_by=OPERATOR))
            requests.append(self.signal(event_id, "reprocess"))
        await asyncio.gather(*requests)

    async def resolve(self, event_id: EventId) -> None:
        """An operator closes the incident manually."""
        story = await self._now()
        incident_id = await story.incident_id(event_id)
        await story.do(acts.resolve_manually, incident_id, reason="refunded", requested_by=OPERATOR)

    async def reopen(self, event_id: EventId) -> None:
        """An operator opens the closed incident again."""
        story = await self._now()
        incident_id = await story.incident_id(event_id)
        await story.do(acts.reopen, incident_id, reason="not refunded", requested_by=OPERATOR)

    async def move_deadline(self, event_id: EventId, **span: float) -> None:
        """An operator moves the deadline to so long from now."""
        story = await self._now()
        moved = {"deadline_at": story.at + timedelta(**span), "requested_by": OPERATOR}
        await story.do(deadline_moves.move_deadline, event_id, **moved)

    async def stop(self, event_id: EventId) -> None:
        """An operator stops the running repair."""
        story = await self._now()
        incident_id = await story.incident_id(event_id)
        await story.do(acts.stop_repair, incident_id, requested_by=OPERATOR)

    async def expire(self, event_id: EventId) -> None:
        """Move the deadline to now."""
        await (await self._now()).do(deadline_moves.expire, event_id, requested_by=OPERATOR)

    async def advance(self, event_id: EventId, **span: float) -> None:
        """Let time pass in the store, and then for the receipt's workflow."""
        self.database.clock.skew += timedelta(**span)
        await self._skipper.fast_forward(self.handle(event_id), timedelta(**span) + MARGIN)

    def handle(self, event_id: EventId) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(workflow_id(event_id))

    async def signal(self, event_id: EventId, name: str, *payload: object) -> None:
        """Send a signal as a person would."""
        await self.handle(event_id).signal(name, args=payload)

    async def started(self, event_id: EventId) -> None:
        """Return once the receipt's workflow has run its first task."""
        await self.eventually(
            lambda: self._has_event(event_id, "WORKFLOW_TASK_COMPLETED"), "started"
        )

    async def ended(self, event_id: EventId) -> str:
        """The state in which the workflow ended."""
        await self.started(event_id)
        result: dict[str, str] = await asyncio.wait_for(self.handle(event_id).result(), 20)
        return result["position"]

    async def reaches(self, event_id: EventId, state: LifecycleState) -> None:
        """Return once the store and the workflow have this state."""

        async def has_state() -> bool:
            if (await self._story.snapshot(event_id)).state is not state:
                return False
            try:
                return await self.queried_state(event_id) == state
            except RPCError:
                return False  # the store opened the incident, and the run has not begun yet

        await self.eventually(has_state, f"reaches {state}")

    async def queried_state(self, event_id: EventId) -> str:
        """The state by the workflow's query."""
        state: dict[str, str] = await self.handle(event_id).query("state")
        return state["position"]

    async def stored(self, event_id: EventId) -> LifecycleState:
        return (await self._story.snapshot(event_id)).state

    async def timeline(self, event_id: EventId) -> list[str]:
        return await self._story.timeline(event_id)

    async def notes(self, event_id: EventId) -> list[str]:
        rows = await self._story.rows("timeline", event_id)
        return [row["fields"]["text"] for row in rows if row["kind"] == "noted"]

    async def repairs(self, event_id: EventId) -> list[dict[str, Any]]:
        return await self._story.rows("repairs", event_id)

    async def incidents(self, event_id: EventId) -> list[dict[str, Any]]:
        return await self._story.rows("incidents", event_id)

    async def attempts(self, event_id: EventId) -> list[dict[str, Any]]:
        rows = await self._story.rows("attempts", event_id)
        return sorted(rows, key=lambda row: (row["replay_id"], row["number"]))

    async def attempted(self, event_id: EventId, count: int) -> None:
        """Return once `count` attempts of the receipt's repairs have ended."""

        async def have_ended() -> bool:
            return [row["state"] for row in await self.attempts(event_id)] == ["finished"] * count

        await self.eventually(have_ended, f"{count} attempts")

    async def repaired_for(self, event_id: EventId, causes: list[str | None]) -> None:
        """Return once the receipt's repairs have failed for these causes."""

        async def have_failed() -> bool:
            return [row["cause"] for row in await self.repairs(event_id)] == causes

        await self.eventually(have_failed, f"repairs failed: {causes}")

    async def is_scheduled(self, event_id: EventId, activity: str) -> bool:
        """Whether the workflow has scheduled the activity."""
        events = [event async for event in self.handle(event_id).fetch_history_events()]
        return activity in {
            event.activity_task_scheduled_event_attributes.activity_type.name for event in events
        }

    async def ran(self, event_id: EventId, activity: str, *, times: int) -> None:
        """Return once the activity has completed `times` times."""

        async def have_run() -> bool:
            events = [event async for event in self.handle(event_id).fetch_history_events()]
            scheduled = {
                event.event_id
                for event in events
                if event.activity_task_scheduled_event_attributes.activity_type.name == activity
            }
            ended = [
                event.activity_task_completed_event_attributes.scheduled_event_id
                for event in events
            ]
            locally = sum(local_activity_of(event) == activity for event in events)
            return len(scheduled.intersection(ended)) + locally >= times

        await self.eventually(have_run, f"{activity} {times} times")

    async def run_id(self, event_id: EventId) -> str:
        return (await self.handle(event_id).describe()).run_id

    async def has_other_run(self, event_id: EventId, run_id: str) -> bool:
        return await self.run_id(event_id) != run_id

    async def reconciled(self, passes: int) -> None:
        """Run the reconciler `passes` times."""
        for _ in range(passes):
            await self.built.reconciler.reconcile()

    async def has_timeline_entry(self, event_id: EventId, kind: str) -> bool:
        return kind in await self.timeline(event_id)

    async def outbox_is_empty(self) -> bool:
        async with self.database.reading() as session:
            return await count(session) == 0

    async def stores_namespace_id(self) -> bool:
        """Whether the store holds the id of Temporal's namespace."""
        async with self.database.reading() as session:
            return await read_fact(session, NAMESPACE_FACT) == await read_namespace_id(self.client)

    async def event_types(self, event_id: EventId) -> list[str]:
        """The event types of its history, without their prefix."""
        events = [event async for event in self.handle(event_id).fetch_history_events()]
        return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events]

    async def eventually(self, predicate: Callable[[], Awaitable[bool]], what: str) -> None:
        await wait_until_async(predicate, seconds=20, what=what)

    async def subjects(self, count: int) -> list[str]:
        """The mails' subjects and texts, each on one line, once there are `count` mails."""
        await wait_until_async(
            lambda: len(self.post.mails) >= count, seconds=20, what=f"{count} mails"
        )
        return [f"{mail['Subject']}\n{' '.join(text_of(mail).split())}" for mail in self.post.mails]

    async def _has_event(self, event_id: EventId, wanted: str) -> bool:
        try:
            return wanted in await self.event_types(event_id)
        except Exception:  # not started yet: Temporal returns NOT_FOUND
            return False

    async def _now(self) -> Story:
        async with self.database.reading() as session:
            self._story.at = await self.database.now(session)
        return self._story


@asynccontextmanager
async def world_on(
    temporal_server: WorkflowEnvironment, database_url: str, sealer: Sealer, **changes: Any
) -> AsyncIterator[World]:
    """A system on a migrated store, with its worker. `changes` replace parts of the worker."""
    config = temporal_server.client.service_client.config
    # The identity is in every history, so it must not name this machine.
    client = await Client.connect(
        config.target_host,
        namespace=temporal_server.client.namespace,
        identity="tests",
        data_converter=SHORT_FAILURES,
    )
    await prepare_namespace(client, is_ours=True)
    skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
    database = Database.open(database_url, clock=Clock(), writes_on_loop=True)
    try:
        with running_mail_server() as (post, smtp_url), receiving() as receiver:
            created = await _project(database, sealer, receiver.url)
            parts = worker_parts(database, sealer, smtp_url, **changes)
            build = functools.partial(build_worker, skipper.client, parts)
            made = World(
                database, created, skipper=skipper, build=build, post=post, receiver=receiver
            )
            async with made.working():
                yield made
    finally:
        await database.close()


def worker_parts(
    database: Database, sealer: Sealer, smtp_url: str, **changes: Any
) -> WorkerDependencies:
    """Real parts, with a short schedule, fixed random values, and deadlines that ignore ingest
    outages.
    """
    values: dict[str, Any] = {
        "database": database,
        "sealer": sealer,
        "channels": channels_by_mail(SmtpMailer(parse_mail_server(smtp_url))),
        "transport": functools.partial(
            exchange, allow=(ip_network("127.0.0.0/8"),), timeout_seconds=10
        ),
        "rules": CallbackRules(schedule=(0, 60, 600), jitter=0.1),
        "chance": RuntimeSources(draw=lambda: 0.5, nonce=lambda: "0" * 32),
        "public_url": "https://makegood.example.com",
        "outage_seconds": 0,
        "reconcile_seconds": 0.5,
        "owns_namespace": True,
    }
    return WorkerDependencies(**(values | changes))


async def _project(database: Database, sealer: Sealer, repair_url: str) -> CreatedProject:
    async with database.transaction() as session:
        return await create_project(
            session,
            sealer,
            name="shop",
            livemode=False,
            repair_url=repair_url,
            alert_emails=("ops@shop.example",),
            scopes=frozenset(Scope),
            now=await database.now(session),
        )
