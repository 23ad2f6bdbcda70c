"""Liveness, readiness and metrics."""

from datetime import UTC, datetime

import httpx
import pytest

from api.app import create_app
from domain.projects import CreatedProject
from domain.sources.source import SourceKind
from domain.temporal.problems import ProblemKind
from operations.readiness import PROBLEMS, judge_workers
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import set_suspended
from store.sources.schedules import record_not_scheduled, sources_to_schedule
from store.status.heartbeats import Heartbeat, write_heartbeat
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.support.sources import stored_source

FROM_AFAR = {"X-Forwarded-For": "203.0.113.7"}
ALIVE = {"temporal_reachable": True, "pollers_alive": True, "canary_fresh": True}


async def say_alive(database: Database, **report: object) -> None:
    """Write a worker's heartbeat with the current time."""
    async with database.transaction() as session:
        now = await database.now(session)
        await write_heartbeat(
            session, process="worker_1", role="worker", started_at=now, now=now, report=report
        )


def statuses(answer: httpx.Response) -> dict[str, str]:
    return {name: check["status"] for name, check in answer.json()["checks"].items()}


async def test_process_that_serves_is_alive(caller: Caller) -> None:
    assert (await caller.client.get("/livez")).json() == {"status": "ok"}


async def test_ready_when_a_living_worker_reaches_temporal(
    caller: Caller, database: Database
) -> None:
    await say_alive(database, **ALIVE)

    answer = await caller.client.get("/readyz")

    assert answer.status_code == 200, answer.text
    assert statuses(answer) == {
        "store": "ok",
        "migrations": "ok",
        "engine": "ok",
        "worker": "ok",
        "alerts": "ok",
        "runs": "ok",
        "sources": "ok",
        "projects": "ok",
    }


async def test_schedule_that_temporal_did_not_take_is_said_at_once(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await say_alive(database, **ALIVE)
    await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    async with database.transaction() as session:
        (changed,) = await sources_to_schedule(session, after=None, limit=10)
        retry_at = datetime(2026, 11, 23, 11, 13, 55, tzinfo=UTC)
        await record_not_scheduled(session, changed, retry_at)

    answer = await caller.client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["checks"]["sources"] == {
        "status": "ok",
        "detail": "None is failing or silent. Sources whose Schedule at Temporal is not yet"
        " changed: 1. The first is tried again on 2026-11-23 at 11:13:55 UTC.",
    }


async def test_not_ready_names_what_is_gone(caller: Caller, database: Database) -> None:
    nobody = await caller.client.get("/readyz")
    await say_alive(database, temporal_reachable=False, pollers_alive=True)
    no_temporal = await caller.client.get("/readyz")

    assert (nobody.status_code, no_temporal.status_code) == (503, 503)
    others = dict.fromkeys(("store", "migrations", "alerts", "runs", "sources", "projects"), "ok")
    assert statuses(nobody) == others | {"engine": "unknown", "worker": "failed"}
    assert statuses(no_temporal) == others | {"engine": "failed", "worker": "unknown"}


async def test_not_ready_without_its_store(sealer: Sealer) -> None:
    database = Database.open("postgresql://nobody@127.0.0.1:1/nothing")
    async with serving(create_app(parts_on(database, sealer))) as client:
        ready = await client.get("/readyz")
        refused = await Caller(client, sealer_key()).send("receipt", receipt())
        metrics = await client.get("/metrics")
    await database.close()

    assert ready.status_code == 503
    unknown = dict.fromkeys(
        ("migrations", "engine", "worker", "alerts", "runs", "sources", "projects"), "unknown"
    )
    assert statuses(ready) == {"store": "failed"} | unknown
    assert refused.json()["code"] == "unavailable"
    assert "makegood_store_up 0.0" in metrics.text


def sealer_key() -> str:
    """A well-formed key that no store knows."""
    from domain.security.api_keys import api_key_text

    return api_key_text(bytes(32), livemode=False)


@pytest.mark.parametrize(
    ("age_seconds", "report", "temporal", "worker"),
    [
        (1.0, ALIVE, "ok", "ok"),
        (9.9, ALIVE, "ok", "ok"),
        (10.1, ALIVE, "unknown", "failed"),
        (1.0, ALIVE | {"pollers_alive": False}, "ok", "failed"),
        (1.0, ALIVE | {"canary_fresh": False}, "ok", "failed"),
        (1.0, ALIVE | {"canary_fresh": None, "missing": ["canary: PERMISSION_DENIED"]}, "ok", "ok"),
        (1.0, {"temporal_reachable": True, "pollers_alive": True}, "ok", "failed"),
        (1.0, {"temporal_reachable": False, "pollers_alive": True}, "failed", "unknown"),
        (1.0, {}, "failed", "unknown"),
    ],
)
def test_workers_are_judged_by_their_last_heartbeat(
    age_seconds: float, report: dict[str, object], temporal: str, worker: str
) -> None:
    at = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    heartbeats = [
        Heartbeat(
            process="w", role="worker", started_at=at, at=at, age_seconds=age_seconds, report=report
        )
    ]

    assert tuple(check.status.value for check in judge_workers(heartbeats)) == (temporal, worker)


@pytest.mark.parametrize("kind", ProblemKind)
def test_readiness_names_why_no_worker_works_for_temporal_and_no_machine(kind: ProblemKind) -> None:
    problem = {
        "kind": kind.value,
        "detail": "worker-host-1 was refused at 10.0.0.1:7233",
        "fix": "set TEMPORAL_NAMESPACE",
    }

    temporal, worker = judge_workers(
        [_heartbeat("a", {"temporal_problem": problem, "temporal_reachable": False})]
    )

    assert (temporal.status.value, worker.status.value) == ("failed", "unknown")
    assert temporal.detail == f"{PROBLEMS[kind]} `makegood doctor` says how to repair it."


def test_readiness_of_one_good_worker_names_the_one_that_is_refused() -> None:
    problem = {"kind": "store_elsewhere", "detail": "d", "fix": "f"}

    temporal, worker = judge_workers(
        [_heartbeat("a", ALIVE), _heartbeat("b", {"temporal_problem": problem})]
    )

    assert (temporal.status.value, worker.status.value) == ("ok", "ok")
    assert (
        "A worker was given another namespace than the other workers of this store."
        in temporal.detail
    )


def test_readiness_names_what_the_workers_do_without() -> None:
    missing = [
        "search attribute MgState: it is registered as Int, and Keyword is needed",
        "canary: refused at 10.0.0.1",
    ]

    temporal, _ = judge_workers([_heartbeat("a", ALIVE | {"missing": missing})])

    assert temporal.status.value == "ok"
    assert temporal.detail.endswith(
        "Temporal lacks optional features: canary, search attribute MgState."
    )


def _heartbeat(process: str, report: dict[str, object]) -> Heartbeat:
    at = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    return Heartbeat(
        process=process, role="worker", started_at=at, at=at, age_seconds=1.0, report=report
    )


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
        "makegood_alert_destinations_failing 0.0",
        "makegood_projects_silent 0.0",
        'makegood_sources_unwell{problem="key_refused"} 0.0',
        'makegood_sources_unwell{problem="silent"} 0.0',
    ):
        assert line in page, line


async def test_metrics_say_how_many_callbacks_run_and_wait(
    caller: Caller, database: Database
) -> None:
    before = (await caller.client.get("/metrics")).text
    await say_alive(database, **ALIVE, callbacks_running=10, callbacks_waiting=140)
    page = (await caller.client.get("/metrics")).text

    assert "makegood_callbacks_waiting 0.0" in before
    assert "makegood_callbacks_running 10.0" in page
    assert "makegood_callbacks_waiting 140.0" in page


async def test_metrics_count_what_the_edge_refuses(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
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
    from_afar = await caller.client.get("/metrics", headers=FROM_AFAR)
    reader = await caller.client.get(
        "/metrics", headers=FROM_AFAR | {"Authorization": f"Bearer {caller.api_key}"}
    )

    assert from_afar.status_code == 401
    assert reader.status_code == 200


async def test_metrics_are_not_for_a_project_that_is_suspended(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await set_suspended(
            session, project.project.id, suspended=True, now=await database.now(session)
        )

    answer = await caller.client.get(
        "/metrics", headers=FROM_AFAR | {"Authorization": f"Bearer {caller.api_key}"}
    )

    assert answer.status_code == 402
