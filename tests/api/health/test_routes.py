"""Liveness, readiness, metrics; the heartbeat and what it credits; that the garbage collector is calmed."""

import asyncio
import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from api.app import GC_THRESHOLDS, create_app
from api.auth.api_keys import ApiKeyCache, Digests
from api.health.heartbeat import ApiHeartbeat
from domain.ids import EventId
from domain.projects import CreatedProject
from domain.temporal_problems import ProblemKind
from operations.readiness import PROBLEMS, judge_workers
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.projects.projects import set_suspended
from store.receipts.queries import read_event
from store.status.heartbeats import Beat, beat, read_beats, read_ingest_beats
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.support.waiting import wait_until_async
from worker.health.heartbeat import Heartbeat
from worker.loops.outage_credit import credit_all

FROM_AFAR = {"X-Forwarded-For": "203.0.113.7"}
ALIVE = {"engine_reachable": True, "pollers_alive": True, "canary_fresh": True}


async def say_alive(database: Database, **report: object) -> None:
    """A worker's heartbeat, now."""
    async with database.transaction() as session:
        now = await database.now(session)
        await beat(session, process="worker_1", role="worker", started_at=now, now=now, report=report)


def told(answer: httpx.Response) -> dict[str, str]:
    return {name: check["status"] for name, check in answer.json()["checks"].items()}


async def test_process_that_serves_is_alive(caller: Caller) -> None:
    assert (await caller.client.get("/livez")).json() == {"status": "ok"}


async def test_ready_when_a_living_worker_reaches_the_engine(caller: Caller, database: Database) -> None:
    await say_alive(database, **ALIVE)

    answer = await caller.client.get("/readyz")

    assert answer.status_code == 200, answer.text
    assert told(answer) == {"store": "ok", "migrations": "ok", "engine": "ok", "worker": "ok", "alerts": "ok", "runs": "ok"}


async def test_not_ready_names_what_is_gone(caller: Caller, database: Database) -> None:
    nobody = await caller.client.get("/readyz")
    await say_alive(database, engine_reachable=False, pollers_alive=True)
    no_engine = await caller.client.get("/readyz")

    assert (nobody.status_code, no_engine.status_code) == (503, 503)
    others = dict.fromkeys(("store", "migrations", "alerts", "runs"), "ok")
    assert told(nobody) == others | {"engine": "unknown", "worker": "failed"}
    assert told(no_engine) == others | {"engine": "failed", "worker": "unknown"}


async def test_not_ready_without_its_store(sealer: Sealer) -> None:
    database = Database.open("postgresql://nobody@127.0.0.1:1/nothing")
    async with serving(create_app(parts_on(database, sealer))) as client:
        ready = await client.get("/readyz")
        refused = await Caller(client, sealer_key()).send("receipt", receipt())
        metrics = await client.get("/metrics")
    await database.close()

    assert ready.status_code == 503
    unknown = dict.fromkeys(("migrations", "engine", "worker", "alerts", "runs"), "unknown")
    assert told(ready) == {"store": "failed"} | unknown
    assert refused.json()["code"] == "unavailable"
    assert "makegood_store_up 0.0" in metrics.text


def sealer_key() -> str:
    """A key of the right shape, of which no store knows."""
    from domain.security.api_keys import api_key_text

    return api_key_text(bytes(32), livemode=False)


@pytest.mark.parametrize(
    ("age_seconds", "report", "engine", "worker"),
    [
        (1.0, ALIVE, "ok", "ok"),
        (9.9, ALIVE, "ok", "ok"),
        (10.1, ALIVE, "unknown", "failed"),
        (1.0, ALIVE | {"pollers_alive": False}, "ok", "failed"),
        (1.0, ALIVE | {"canary_fresh": False}, "ok", "failed"),
        (1.0, ALIVE | {"canary_fresh": None, "missing": ["canary: PERMISSION_DENIED"]}, "ok", "ok"),
        (1.0, {"engine_reachable": True, "pollers_alive": True}, "ok", "failed"),
        (1.0, {"engine_reachable": False, "pollers_alive": True}, "failed", "unknown"),
        (1.0, {}, "failed", "unknown"),
    ],
)
def test_workers_are_judged_by_their_last_word(age_seconds: float, report: dict[str, object], engine: str, worker: str) -> None:
    at = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    beats = [Beat(process="w", role="worker", started_at=at, at=at, age_seconds=age_seconds, report=report)]

    assert tuple(check.status.value for check in judge_workers(beats)) == (engine, worker)


@pytest.mark.parametrize("kind", ProblemKind)
def test_readiness_names_why_no_worker_works_for_temporal_and_no_machine(kind: ProblemKind) -> None:
    problem = {"kind": kind.value, "detail": "worker-host-1 was refused at 10.0.0.1:7233", "fix": "set TEMPORAL_NAMESPACE"}

    engine, worker = judge_workers([_beat("a", {"temporal_problem": problem, "engine_reachable": False})])

    assert (engine.status.value, worker.status.value) == ("failed", "unknown")
    assert engine.detail == f"{PROBLEMS[kind]} `makegood doctor` says how to repair it."


def test_readiness_of_one_good_worker_names_the_one_that_is_refused() -> None:
    problem = {"kind": "store_elsewhere", "detail": "d", "fix": "f"}

    engine, worker = judge_workers([_beat("a", ALIVE), _beat("b", {"temporal_problem": problem})])

    assert (engine.status.value, worker.status.value) == ("ok", "ok")
    assert "A worker was given another namespace than the other workers of this store." in engine.detail


def test_readiness_names_what_the_workers_do_without() -> None:
    missing = ["search attribute MgState: it is registered as Int, and Keyword is needed", "canary: refused at 10.0.0.1"]

    engine, _ = judge_workers([_beat("a", ALIVE | {"missing": missing})])

    assert engine.status.value == "ok"
    assert engine.detail.endswith("Temporal lacks what serves search or comfort: canary, search attribute MgState.")


def _beat(process: str, report: dict[str, object]) -> Beat:
    at = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    return Beat(process=process, role="worker", started_at=at, at=at, age_seconds=1.0, report=report)


async def test_metrics_count_what_was_accepted_and_refused(caller: Caller) -> None:
    event_id = await caller.accept()
    await caller.incident_of(event_id)
    await caller.send("receipt", {})
    await caller.send("receipt", {}, headers={"Accept": "text/html"})

    page = (await caller.client.get("/metrics")).text

    for line in (
        'makegood_accepted_total{endpoint="receipt"} 1.0',
        'makegood_accepted_total{endpoint="result"} 1.0',
        'makegood_refused_total{code="validation_error",endpoint="receipt"} 1.0',
        'makegood_refused_total{code="not_acceptable",endpoint="receipt"} 1.0',
        'makegood_request_duration_seconds_count{endpoint="receipt"} 3.0',
        'makegood_incidents{state="open"} 1.0',
        "makegood_receipts_waiting 0.0",
        "makegood_outbox_rows 2.0",
        "makegood_store_up 1.0",
        "makegood_attempts 0.0",
        "makegood_deadline_lag_seconds 0.0",
        "makegood_alerts_unsent 1.0",
        "makegood_alerts_failing 0.0",
        "makegood_alerts_failing_seconds 0.0",
        "makegood_alerts_ended 0.0",
    ):
        assert line in page, line


async def test_metrics_say_how_many_callbacks_run_and_wait(caller: Caller, database: Database) -> None:
    before = (await caller.client.get("/metrics")).text
    await say_alive(database, **ALIVE, callbacks_running=10, callbacks_waiting=140)
    page = (await caller.client.get("/metrics")).text

    assert "makegood_callbacks_waiting 0.0" in before
    assert "makegood_callbacks_running 10.0" in page
    assert "makegood_callbacks_waiting 140.0" in page


async def test_metrics_count_what_the_edge_refuses(database: Database, sealer: Sealer, project: CreatedProject) -> None:
    app = create_app(parts_on(database, sealer))

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    async with serving(app) as client:
        await client.get("/api/v1/receipt")
        await client.put("/v1/result")
        await client.patch("/api/v1/project", content=b"x" * 70_000)
        await client.get("/broken")
        page = (await client.get("/metrics")).text

    for line in (
        'makegood_refused_total{code="method_not_allowed",endpoint="other"} 2.0',
        'makegood_refused_total{code="payload_too_large",endpoint="other"} 1.0',
        'makegood_refused_total{code="internal_error",endpoint="other"} 1.0',
    ):
        assert line in page, line


async def test_metrics_are_for_this_machine_or_a_key(caller: Caller) -> None:
    stranger = await caller.client.get("/metrics", headers=FROM_AFAR)
    reader = await caller.client.get("/metrics", headers=FROM_AFAR | {"Authorization": f"Bearer {caller.api_key}"})

    assert stranger.status_code == 401
    assert reader.status_code == 200


async def test_metrics_are_not_for_a_project_that_is_suspended(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await set_suspended(session, project.project.id, suspended=True, now=await database.now(session))

    answer = await caller.client.get("/metrics", headers=FROM_AFAR | {"Authorization": f"Bearer {caller.api_key}"})

    assert answer.status_code == 402


async def test_garbage_collector_is_calmed_once_serving(caller: Caller) -> None:
    assert gc.get_threshold() == GC_THRESHOLDS
    assert gc.get_freeze_count() > 10_000


async def test_api_says_every_two_seconds_that_it_lives(caller: Caller, database: Database) -> None:
    async with database.reading() as session:
        beats = await read_beats(session, await database.now(session))

    reports = {one.role: set(one.report) for one in beats}
    clocks = {"clock_ahead_seconds"} if database.dialect == "postgresql" else set()
    assert reports == {"api": {"accepted_per_second", "accepted", "secrets"} | clocks, "ingest": set()}


async def test_api_that_ends_says_so_with_its_last_beat(database: Database, sealer: Sealer) -> None:
    async with serving(create_app(parts_on(database, sealer))), database.reading() as session:
        alive = await read_ingest_beats(session)

    async with database.reading() as session:
        ended = await read_ingest_beats(session)
    assert alive is not None
    assert alive.alive_at is not None
    assert ended is not None
    assert ended.alive_at is None


async def deadline_of(database: Database, event_id: str) -> tuple[datetime, datetime, list[str]]:
    async with database.reading() as session:
        event = await read_event(session, None, EventId(event_id))
    assert event is not None
    return event.receipt.timeout_at, event.receipt.deadline_at, [entry.kind.value for entry in event.timeline]


def pulse_on(database: Database, sealer: Sealer, **changes: Any) -> ApiHeartbeat:
    async def find(_: Digests) -> None:
        return None

    ring = ApiKeyCache(find_key=find, digests=sealer.key_digests, clock=lambda: 0.0)
    return ApiHeartbeat(database=database, key_ring=ring, accepted=lambda: 0, outage_seconds=60, sealer=sealer, **changes)


async def write_ingest_heartbeat(database: Database) -> None:
    """A front door begins and ends."""
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=60)
    await committer.stop()


async def credited_now(database: Database) -> int:
    """How many deadlines move once a front door has begun."""
    await write_ingest_heartbeat(database)
    return await credit_all(database)


@pytest.mark.parametrize(("away_seconds", "credited"), [(50, 0), (300, 1)])
async def test_outage_is_credited_once(
    database: Database, sealer: Sealer, project: CreatedProject, away_seconds: int, credited: int
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        event_id = await Caller(client, project.api_key).accept()
    database.clock.skew = timedelta(seconds=away_seconds)

    first, second = await credited_now(database), await credited_now(database)
    timeout_at, deadline_at, kinds = await deadline_of(database, event_id)

    assert (first, second) == (credited, 0)
    assert kinds.count("deadline_credited") == credited
    if credited:
        assert timedelta(seconds=away_seconds - 5) < deadline_at - timeout_at < timedelta(seconds=away_seconds + 30)
    else:
        assert deadline_at == timeout_at


async def test_credit_that_takes_longer_than_an_outage_is_no_outage_itself(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        event_ids = [await Caller(client, project.api_key).accept() for _ in range(3)]
    database.clock.skew = timedelta(seconds=300)
    await write_ingest_heartbeat(database)

    def take_long(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO timeline" in statement:
            database.clock.skew += timedelta(seconds=31)

    async def go_on(_: float) -> None:
        await write_ingest_heartbeat(database)

    event.listen(Engine, "after_cursor_execute", take_long)
    try:
        credited = await credit_all(database, batch=1, pause=go_on)
    finally:
        event.remove(Engine, "after_cursor_execute", take_long)

    assert [credited, await credited_now(database), await credited_now(database)] == [3, 0, 0]
    for event_id in event_ids:
        assert (await deadline_of(database, event_id))[2].count("deadline_credited") == 1


async def test_last_use_of_a_key_is_written_down(database: Database, sealer: Sealer, project: CreatedProject) -> None:
    app = create_app(parts_on(database, sealer))
    async with serving(app) as client:
        await Caller(client, project.api_key).accept()
    keys = await app.state.shared.operations.list_keys(project.project.id)

    assert keys["data"][0]["last_used_at"] is not None


def five_minutes_off(minutes: int) -> Callable[[], datetime]:
    """A host's clock."""
    return lambda: datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.mark.parametrize(("minutes", "said"), [(5, "300 s ahead of the store's."), (-5, "300 s behind the store's.")])
async def test_readiness_names_every_process_whose_clock_is_off_and_stays_ready(
    caller: Caller, database: Database, sealer: Sealer, minutes: int, said: str
) -> None:
    host_now = five_minutes_off(minutes)
    pulse = pulse_on(database, sealer, host_now=host_now)
    heart = Heartbeat(database, identity="worker-off", started_at=datetime.now(UTC), host_now=host_now)
    await pulse.beat()
    beating = asyncio.create_task(heart.heartbeat_loop())
    await wait_until_async(lambda: beats_of(database, "worker-off"), what="the worker's heartbeat")
    answer = await caller.client.get("/readyz")
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)

    store = answer.json()["checks"]["store"]
    assert store["status"] == "ok"
    if database.dialect == "sqlite":
        # The store's clock is the host's own: there is nothing to see.
        assert store["detail"] == "It answers, and can be written."
        return
    named = [f"The clock of {process} is {said}" for process in ("worker-off", pulse.process)]
    assert all(complaint in store["detail"] for complaint in named), store["detail"]


async def beats_of(database: Database, process: str) -> list[Beat]:
    async with database.reading() as session:
        return [found for found in await read_beats(session, await database.now(session)) if found.process == process]


@pytest.mark.parametrize("minutes", [5, -5])
async def test_console_has_the_stores_time_whatever_the_hosts_clock_says(postgres_url: str, sealer: Sealer, minutes: int) -> None:
    database = Database.open(postgres_url)
    pulse = pulse_on(database, sealer, host_now=five_minutes_off(minutes))
    await pulse.beat()

    async with database.reading() as session:
        now = await database.now(session)
    await database.close()

    assert abs(pulse.store_now() - now) < timedelta(seconds=2)
