"""The health endpoints `/livez`, `/readyz` and `/metrics`. They query the store, never Temporal.

An installation is ready when:

1. the store answers, accepts writes and has current tables,
2. a worker reaches Temporal,
3. a worker polls for tasks and finished a canary workflow in the last 60 s,
4. alerts are sent,
5. no receipt has a stuck workflow run.

Each check has its own status, so that a failure names its cause. A check that cannot run because
of another failure is `unknown`. Concurrent requests share one run of the checks.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.auth.api_keys import Authenticator
from api.http.metrics import Counts, StoreGauges, render
from api.http.request_headers import read_request_head
from api.http.single_flight import SingleFlight
from domain.errors import Unavailable
from domain.projects import Scope
from operations.readiness import (
    Check,
    CheckStatus,
    clock_complaints,
    fresh_workers,
    judge_alerts,
    judge_projects,
    judge_runs,
    judge_sources,
    judge_workers,
    outage_credit_warning,
    sum_reported,
)
from store.db.database import Database
from store.db.durability import Flaw, find_flaws
from store.maintenance import metrics as gauges
from store.maintenance.metrics import FailingAlerts
from store.overview.silence import count_silent
from store.receipts.pending_credit import read_pending_credit
from store.receipts.reconcile.stuck_runs import count_stuck
from store.revisions import read_revision, revisions
from store.sources.schedules import NotScheduled, read_not_scheduled
from store.status.heartbeats import Heartbeat, read_heartbeats

# Clients of readiness and metrics endpoints have short timeouts themselves.
CHECK_SECONDS = 4.0
MEASURE_SECONDS = 4.0
# The checks that cannot run without the store. `engine` is the check of Temporal.
NEED_THE_STORE = ("migrations", "engine", "worker", "alerts", "runs", "sources", "projects")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WORKER_FIGURES = ("callbacks_running", "callbacks_waiting")
_FORWARDED = ("forwarded", "x-forwarded-for")


class Health:
    """The health checks of one store."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._newest_revision: str | None = None
        self._snapshots = SingleFlight(self._read_snapshot)
        self._write_probes = SingleFlight(database.check_writable)
        self._scrapes = SingleFlight(self._measure)

    async def checks(self) -> tuple[Check, ...]:
        """Run all checks."""
        try:
            seen = await self._snapshots.result(timeout_seconds=CHECK_SECONDS)
        except (Unavailable, SQLAlchemyError, OSError):
            detail = "Unknown while the store does not answer."
            return (
                Check("store", CheckStatus.FAILED, "The store does not answer."),
                *(Check(name, CheckStatus.UNKNOWN, detail) for name in NEED_THE_STORE),
            )
        checks = (
            await self._store(seen),
            self._migrations(seen.revision),
            *judge_workers(seen.heartbeats),
        )
        judged = (judge_runs(seen.stuck_runs), judge_sources(seen.sources, seen.not_scheduled))
        return (*checks, self._alerts(seen), *judged, judge_projects(seen.silent))

    async def readiness(self) -> dict[str, CheckStatus]:
        """The checks by name, for the console."""
        return {check.name: check.status for check in await self.checks()}

    def _alerts(self, seen: "_StoreSnapshot") -> Check:
        if seen.revision != self._newest_revision:
            detail = "Unknown while the tables have another version."
            return Check("alerts", CheckStatus.UNKNOWN, detail)
        if seen.alerts is None:
            return Check("alerts", CheckStatus.UNKNOWN, "Unknown, because the query timed out.")
        return judge_alerts(seen.alerts)

    async def gauges(self) -> StoreGauges | None:
        """The store's figures for `/metrics`; None while it does not answer."""
        try:
            return await self._scrapes.result(timeout_seconds=2 * MEASURE_SECONDS)
        except (Unavailable, SQLAlchemyError, OSError):
            return None

    async def _read_snapshot(self) -> "_StoreSnapshot":
        if self._newest_revision is None:
            self._newest_revision = (await asyncio.to_thread(revisions))[0]
        async with self._database.watching() as session:
            revision = await read_revision(session)
            heartbeats = await read_heartbeats(session, await self._database.now(session))
            flaws = await find_flaws(session)
        if revision != self._newest_revision:
            return _StoreSnapshot(
                revision,
                tuple(heartbeats),
                flaws,
                alerts=None,
                stuck_runs=None,
                sources=None,
                silent=None,
                not_scheduled=None,
                credit_seconds=None,
            )
        return _StoreSnapshot(
            revision,
            tuple(heartbeats),
            flaws,
            alerts=await self._failing_alerts(),
            stuck_runs=await self._stuck_runs(),
            sources=await self._unwell_sources(),
            silent=await self._silent_projects(),
            not_scheduled=await self._not_scheduled(),
            credit_seconds=await self._credit_seconds(),
        )

    async def _failing_alerts(self) -> FailingAlerts | None:
        """The failing alerts; None after a timeout, which does not mean that the store fails."""
        try:
            async with self._database.watching() as session:
                return await gauges.read_failing_alerts(session, await self._database.now(session))
        except Unavailable:
            return None

    async def _stuck_runs(self) -> int | None:
        try:
            async with self._database.watching() as session:
                return await count_stuck(session)
        except Unavailable:
            return None

    async def _unwell_sources(self) -> Mapping[str, int] | None:
        try:
            async with self._database.watching() as session:
                return await gauges.count_unwell_sources(session, limit=gauges.COUNTED)
        except Unavailable:
            return None

    async def _silent_projects(self) -> int | None:
        try:
            async with self._database.watching() as session:
                return await count_silent(session, limit=gauges.COUNTED)
        except Unavailable:
            return None

    async def _not_scheduled(self) -> NotScheduled | None:
        try:
            async with self._database.watching() as session:
                return await read_not_scheduled(session, limit=gauges.COUNTED)
        except Unavailable:
            return None

    async def _credit_seconds(self) -> float | None:
        try:
            async with self._database.watching() as session:
                pending = await read_pending_credit(session, await self._database.now(session))
                return None if pending is None else pending.age_seconds
        except Unavailable:
            return None

    async def _store(self, seen: "_StoreSnapshot") -> Check:
        not_writable = Check("store", CheckStatus.FAILED, "It answers, but accepts no writes.")
        try:
            await self._write_probes.result(timeout_seconds=CHECK_SECONDS)
        except TimeoutError:
            # SQLite has one writer at a time, and busy ingest leaves it little time. A recent
            # heartbeat proves that the store accepts writes.
            if not any(
                heartbeat.role == "api" and heartbeat.age_seconds < CHECK_SECONDS
                for heartbeat in seen.heartbeats
            ):
                return not_writable
        except (Unavailable, SQLAlchemyError, OSError):
            return not_writable
        warnings = "".join(f" Warning: {flaw}." for flaw in seen.flaws)
        warnings += outage_credit_warning(seen.credit_seconds)
        warnings += "".join(f" {complaint}" for complaint in clock_complaints(seen.heartbeats))
        return Check("store", CheckStatus.OK, f"It answers, and can be written.{warnings}")

    def _migrations(self, revision: str | None) -> Check:
        if revision == self._newest_revision:
            return Check("migrations", CheckStatus.OK, "The tables are current.")
        detail = "The tables are not current: run `makegood migrate`."
        return Check("migrations", CheckStatus.FAILED, detail)

    async def _measure(self) -> StoreGauges:
        """Read each figure in its own session, for a limited time. Slow figures are omitted."""
        async with self._database.measuring() as session:
            now = await self._database.now(session)
            workers = fresh_workers(await read_heartbeats(session, now))
        loop, left_out = asyncio.get_running_loop(), 0
        give_up_at = loop.time() + MEASURE_SECONDS
        found: dict[str, float] = {name: sum_reported(workers, name) for name in WORKER_FIGURES}
        for measure in gauges.MEASURES:
            if loop.time() > give_up_at:
                left_out += 1
                continue
            try:
                async with self._database.measuring() as session:
                    found |= await measure(session, await self._database.now(session))
            except (Unavailable, SQLAlchemyError, OSError):
                left_out += 1
        return StoreGauges(figures=found, left_out=left_out)


@dataclass(frozen=True, slots=True)
class _StoreSnapshot:
    """What one set of queries found in the store."""

    revision: str | None
    heartbeats: tuple[Heartbeat, ...]
    flaws: tuple[Flaw, ...]
    alerts: FailingAlerts | None
    stuck_runs: int | None
    sources: Mapping[str, int] | None  # unwell ones, by problem
    silent: int | None  # projects and types
    not_scheduled: NotScheduled | None
    # Since the end of the oldest outage that is not yet credited to every deadline.
    credit_seconds: float | None


def health_router(
    *, health: Health, authenticator: Authenticator, counts: Counts, is_metrics_open: bool
) -> APIRouter:
    """The three routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> JSONResponse:
        """200 while this process serves requests, without any check."""
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when every check is ok, else 503, with the result of each check."""
        checks = await health.checks()
        is_ready = all(check.status is CheckStatus.OK for check in checks)
        found = {
            check.name: {"status": check.status.value, "detail": check.detail} for check in checks
        }
        body = {"status": "ok" if is_ready else "failed", "checks": found}
        status, headers = 200 if is_ready else 503, {"Cache-Control": "no-store"}
        return JSONResponse(body, status_code=status, headers=headers)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Metrics for Prometheus, for clients on this host or with a key of scope `read`."""
        if not is_metrics_open and not is_own_machine(request):
            # The figures cover the whole installation, so the scope `ingest` is not enough.
            head = read_request_head(request.scope["headers"])
            await authenticator.authorize(head.authorization, Scope.READ, Scope.ADMIN)
        return Response(render(counts, await health.gauges()), media_type=METRICS_TYPE)

    return router


def is_own_machine(request: Request) -> bool:
    """Whether a loopback peer is the client itself. A proxy on this host serves remote clients."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
