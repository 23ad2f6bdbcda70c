"""A whole world around one store: the real dev server, a worker at work in this process, a mail server, a repair endpoint.

Time stands still for a workflow but for the seconds a test takes, until `advance` moves the store's clock and the workflow's own
together. Also used by `tests/histories/record.py`.
"""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
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
from store.receipts.operator_actions import expire, resolve_manually
from store.receipts.outbox import count, enqueue_start_again
from store.receipts.repairs import request_repair
from store.receipts.transitions import apply_result
from store.status.heartbeats import NAMESPACE_FACT, read_fact
from tests.console.receiver import Receiver, receiving
from tests.histories.fingerprint import local_activity_of
from tests.support.given import OPERATOR, Story, new_result
from tests.support.processes import free_ports
from tests.support.waiting import wait_until_async
from worker.build import BuiltWorker, WorkerDependencies, build_worker
from worker.temporal.connect import prepare_namespace, read_namespace_id
from worker.temporal.failure_converter import SHORT_FAILURES
from workflows.messages import workflow_id

ROOT = Path(__file__).parents[2]
TEMPORAL = Path(sys.executable).parent / "temporal"
# A history counts as long after 100 events, so that a test can grow one.
DYNAMIC = ("frontend.WorkflowTimeSkippingEnabled=true", "limit.historyCount.suggestContinueAsNew=100")
ENGINE_ARGS = [argument for value in DYNAMIC for argument in ("--dynamic-config-value", value)]
# A workflow's own clock is moved a little further than the store's, which must have passed the deadline by then.
MARGIN = timedelta(milliseconds=500)


class Post:
    """A mail server's handler: keeps what it takes, or refuses everything while `is_refusing`, and some addresses for good."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.is_refusing = False
        self.unknown: set[str] = set()
        self.refusals: list[str] = []

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if address in self.unknown:
            self.refusals.append(address)
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.is_refusing:
            return "451 not now"
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@contextmanager
def taking_mail() -> Iterator[tuple[Post, str]]:
    """A mail server on a free port, and its URL."""
    post = Post()
    port = free_ports(1)[0]
    controller = Controller(post, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield post, f"smtp://127.0.0.1:{port}"
    finally:
        controller.stop()


async def start_engine() -> WorkflowEnvironment:
    """The dev server, with time that can be skipped."""
    return await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(TEMPORAL), dev_server_extra_args=ENGINE_ARGS, ui=False
    )


class World:
    """One project in one store, and everything around it."""

    def __init__(
        self,
        database: Database,
        created: CreatedProject,
        *,
        skipper: TimeSkipper,
        build: Callable[[], BuiltWorker],
        post: Post,
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
        """A worker is at work from now on; after a stop it is another one."""
        if self._is_spent:
            self.built, self._is_spent = self._build(), False
        await self._running.enter_async_context(self.built.running())

    async def stop_worker(self) -> None:
        """No worker is at work from now on: Temporal and the store are alone."""
        self._is_spent = True
        await self._running.aclose()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker is at work while the block runs, unless the block stops it."""
        await self.start_worker()
        try:
            yield
        finally:
            await self.stop_worker()

    async def accept(self, *, telling: bool = True, **changes: Any) -> EventId:
        """A receipt accepted now; unless `telling` is False, its outbox row too."""
        event_id = await (await self._now()).receipt(**changes)
        if telling:
            await self.tell(event_id)
        return event_id

    async def tell(self, event_id: EventId) -> None:
        """Put a `start` row into the outbox."""
        async with self.database.transaction() as session:
            await enqueue_start_again(session, event_id, await self.database.now(session))

    async def accept_applied(self) -> EventId:
        """A receipt and its success, both in the outbox before anybody looks."""
        event_id = await self.accept(telling=False)
        async with self.database.transaction() as session:
            now = await self.database.now(session)
            await enqueue_start_again(session, event_id, now)
            await apply_result(SessionStatements(session), new_result(self.project.id, event_id), now)
        return event_id

    async def report(self, event_id: EventId, status: str, **changes: Any) -> None:
        """The app reports a result."""
        await (await self._now()).result(event_id, status, **changes)

    async def reprocess(self, event_id: EventId) -> ReplayId:
        """An operator presses Reprocess in the console."""
        begun = await (await self._now()).do(request_repair, event_id, requested_by=OPERATOR)
        return begun.replay_id

    async def crowd(self, event_id: EventId, count: int) -> None:
        """So many people ask for a repair at once, every other one in the console."""
        story = await self._now()
        asking: list[Awaitable[object]] = []
        for _ in range(count // 2):
            asking.append(story.do(request_repair, event_id, requested_by=OPERATOR))
            asking.append(self.signal(event_id, "reprocess"))
        await asyncio.gather(*asking)

    async def resolve(self, event_id: EventId) -> None:
        """An operator closes the incident by hand."""
        story = await self._now()
        await story.do(resolve_manually, await story.incident_id(event_id), reason="refunded", requested_by=OPERATOR)

    async def expire(self, event_id: EventId) -> None:
        """The deadline is now."""
        await (await self._now()).do(expire, event_id, requested_by=OPERATOR)

    async def advance(self, event_id: EventId, **span: float) -> None:
        """Let time pass in the store, and then for the receipt's workflow."""
        self.database.clock.skew += timedelta(**span)
        await self._skipper.fast_forward(self.handle(event_id), timedelta(**span) + MARGIN)

    def handle(self, event_id: EventId) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(workflow_id(event_id))

    async def signal(self, event_id: EventId, name: str, *payload: object) -> None:
        """A signal sent by hand."""
        await self.handle(event_id).signal(name, args=payload)

    async def started(self, event_id: EventId) -> None:
        """Return once the receipt's workflow has run its first task."""
        await self.eventually(lambda: self._has_event(event_id, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED), "started")

    async def ended(self, event_id: EventId) -> str:
        """The position that the workflow ended with."""
        await self.started(event_id)
        result: dict[str, str] = await asyncio.wait_for(self.handle(event_id).result(), 20)
        return result["position"]

    async def reaches(self, event_id: EventId, position: LifecycleState) -> None:
        """Return once store and workflow stand there."""

        async def stands() -> bool:
            if (await self._story.standing(event_id)).position is not position:
                return False
            try:
                return await self.believed(event_id) == position
            except RPCError:
                return False  # opened from the store, and its run has not begun yet

        await self.eventually(stands, f"reaches {position}")

    async def believed(self, event_id: EventId) -> str:
        """Where the workflow believes the receipt stands."""
        answer: dict[str, str] = await self.handle(event_id).query("state")
        return answer["position"]

    async def stored(self, event_id: EventId) -> LifecycleState:
        return (await self._story.standing(event_id)).position

    async def timeline(self, event_id: EventId) -> list[str]:
        return await self._story.told(event_id)

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
        """Return once so many attempts of the receipt's repairs have ended."""

        async def have_ended() -> bool:
            return [row["state"] for row in await self.attempts(event_id)] == ["finished"] * count

        await self.eventually(have_ended, f"{count} attempts")

    async def repaired_for(self, event_id: EventId, causes: list[str | None]) -> None:
        """Return once the receipt's repairs have failed for these causes."""

        async def have_failed() -> bool:
            return [row["cause"] for row in await self.repairs(event_id)] == causes

        await self.eventually(have_failed, f"repairs failed: {causes}")

    async def is_scheduled(self, event_id: EventId, activity: str) -> bool:
        """Whether the engine was asked to have the activity run."""
        events = [event async for event in self.handle(event_id).fetch_history_events()]
        return activity in {event.activity_task_scheduled_event_attributes.activity_type.name for event in events}

    async def ran(self, event_id: EventId, activity: str, *, times: int) -> None:
        """Return once the workflow's activities of that name have completed so often."""

        async def have_run() -> bool:
            events = [event async for event in self.handle(event_id).fetch_history_events()]
            scheduled = {
                event.event_id
                for event in events
                if event.activity_task_scheduled_event_attributes.activity_type.name == activity
            }
            ended = [event.activity_task_completed_event_attributes.scheduled_event_id for event in events]
            locally = sum(local_activity_of(event) == activity for event in events)
            return len(scheduled.intersection(ended)) + locally >= times

        await self.eventually(have_run, f"{activity} {times} times")

    async def run_id(self, event_id: EventId) -> str:
        return (await self.handle(event_id).describe()).run_id

    async def has_other_run(self, event_id: EventId, run_id: str) -> bool:
        return await self.run_id(event_id) != run_id

    async def reconciled(self, passes: int) -> None:
        """Return once the reconciler has looked so many times."""
        for _ in range(passes):
            await self.built.reconciler.reconcile()

    async def told_of(self, event_id: EventId, kind: str) -> bool:
        return kind in await self.timeline(event_id)

    async def outbox_is_empty(self) -> bool:
        async with self.database.reading() as session:
            return await count(session) == 0

    async def knows_namespace(self) -> bool:
        """Whether the store knows the engine's namespace by its id."""
        async with self.database.reading() as session:
            return await read_fact(session, NAMESPACE_FACT) == await read_namespace_id(self.client)

    async def event_types(self, event_id: EventId) -> list[str]:
        """The types of its history's events, in short."""
        events = [event async for event in self.handle(event_id).fetch_history_events()]
        return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events]

    async def eventually(self, predicate: Callable[[], Awaitable[bool]], what: str) -> None:
        await wait_until_async(predicate, seconds=20, what=what)

    async def subjects(self, count: int) -> list[str]:
        """The mails' subjects, once there are so many."""
        await wait_until_async(lambda: len(self.post.mails) >= count, seconds=20, what=f"{count} mails")
        return [mail["Subject"] for mail in self.post.mails]

    async def _has_event(self, event_id: EventId, wanted: "EventType.ValueType") -> bool:
        try:
            return any([event.event_type == wanted async for event in self.handle(event_id).fetch_history_events()])
        except Exception:  # Not started yet: the engine says NOT_FOUND.
            return False

    async def _now(self) -> Story:
        async with self.database.reading() as session:
            self._story.at = await self.database.now(session)
        return self._story


@asynccontextmanager
async def world_on(engine: WorkflowEnvironment, database_url: str, sealer: Sealer, **changes: Any) -> AsyncIterator[World]:
    """A world on a migrated store, whose worker is at work while the block runs; `changes` are of the worker's parts."""
    config = engine.client.service_client.config
    # The identity is in every history: it must not name this machine.
    client = await Client.connect(
        config.target_host, namespace=engine.client.namespace, identity="tests", data_converter=SHORT_FAILURES
    )
    await prepare_namespace(client, is_ours=True)
    skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
    database = Database.open(database_url, clock=Clock(), writes_on_loop=True)
    try:
        with taking_mail() as (post, smtp_url), receiving() as receiver:
            created = await _project(database, sealer, receiver.url)
            parts = worker_parts(database, sealer, smtp_url, **changes)
            build = functools.partial(build_worker, skipper.client, parts)
            made = World(database, created, skipper=skipper, build=build, post=post, receiver=receiver)
            async with made.working():
                yield made
    finally:
        await database.close()


def worker_parts(database: Database, sealer: Sealer, smtp_url: str, **changes: Any) -> WorkerDependencies:
    """Real parts, with a short schedule, the middle of every draw, and no hold while the ingest is silent."""
    values: dict[str, Any] = {
        "database": database,
        "sealer": sealer,
        "mailer": SmtpMailer(parse_mail_server(smtp_url)),
        "transport": functools.partial(exchange, allow=(ip_network("127.0.0.0/8"),), timeout_seconds=10),
        "rules": CallbackRules(schedule=(0, 60, 600), jitter=0.1),
        "chance": RuntimeSources(draw=lambda: 0.5, nonce=lambda: "0" * 32),
        "mail_from": "makegood@example.com",
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
