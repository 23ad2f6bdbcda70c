"""Whether this installation works: `/livez`, `/readyz` and `/metrics`. Reads the store and its heartbeats, never the engine.

Ready means: the store answers, can be written and has current tables; a worker reaches Temporal, and one does work: it asks for
tasks, and a canary finished through it within 60 s; alerts are sent; and no receipt has a run that cannot go on. Each check says
so for itself, so that a red answer names its cause, and what cannot be known because of it is `unknown`. A caller who asks while
a check runs gets its answer.
"""

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.auth.api_keys import Authenticator
from api.http.metrics import Counts, StoreGauges, render
from api.http.request_headers import read_headers
from api.http.single_flight import Flight
from domain.errors import Unavailable
from domain.projects import Scope
from operations.readiness import (
    Check,
    CheckStatus,
    clock_complaints,
    fresh_workers,
    judge_alerts,
    judge_runs,
    judge_workers,
    pending_credit,
    reported,
)
from store.db.database import Database
from store.db.durability import Flaw, find_flaws
from store.maintenance import metrics as gauges
from store.maintenance.metrics import FailingAlerts
from store.migrate import read_revision, revisions
from store.receipts.outage_credit import read_pending_credit
from store.receipts.stuck_runs import count_stuck
from store.status import heartbeats
from store.status.heartbeats import Beat

# What asks for readiness or metrics gives up soon itself.
CHECK_SECONDS = 4.0
MEASURE_SECONDS = 4.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("forwarded", "x-forwarded-for")


class Health:
    """The checks on one store."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._newest_revision: str | None = None
        self._looks = Flight(self._look)
        self._probes = Flight(database.check_writable)
        self._scrapes = Flight(self._measure)

    async def checks(self) -> tuple[Check, ...]:
        """Every check, now."""
        try:
            seen = await self._looks.answer(seconds=CHECK_SECONDS)
        except (Unavailable, SQLAlchemyError, OSError):
            return (
                Check("store", CheckStatus.FAILED, "The store does not answer."),
                Check("migrations", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
                Check("engine", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
                Check("worker", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
                Check("alerts", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
                Check("runs", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
            )
        checks = (await self._store(seen), self._migrations(seen.revision), *judge_workers(seen.beats))
        return (*checks, self._alerts(seen), judge_runs(seen.stuck_runs))

    async def readiness(self) -> dict[str, CheckStatus]:
        """The checks by name, for the console."""
        return {check.name: check.status for check in await self.checks()}

    def _alerts(self, seen: "_Seen") -> Check:
        if seen.revision != self._newest_revision:
            return Check("alerts", CheckStatus.UNKNOWN, "Not known while the tables are of another version.")
        if seen.alerts is None:
            return Check("alerts", CheckStatus.UNKNOWN, "Not known: looking at them took too long.")
        return judge_alerts(seen.alerts)

    async def gauges(self) -> StoreGauges | None:
        """What the store knows for `/metrics`; None while it does not answer."""
        try:
            return await self._scrapes.answer(seconds=2 * MEASURE_SECONDS)
        except (Unavailable, SQLAlchemyError, OSError):
            return None

    async def _look(self) -> "_Seen":
        if self._newest_revision is None:
            self._newest_revision = (await asyncio.to_thread(revisions))[0]
        async with self._database.watching() as session:
            revision = await read_revision(session)
            beats = await heartbeats.read_beats(session, await self._database.now(session))
            flaws = await find_flaws(session)
        if revision != self._newest_revision:
            return _Seen(revision, tuple(beats), flaws, None, None, None)
        alerts, stuck, credit = await self._failing_alerts(), await self._stuck_runs(), await self._credit_seconds()
        return _Seen(revision, tuple(beats), flaws, alerts, stuck, credit)

    async def _failing_alerts(self) -> FailingAlerts | None:
        """By itself: a look that takes too long says nothing of the store."""
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

    async def _credit_seconds(self) -> float | None:
        try:
            async with self._database.watching() as session:
                pending = await read_pending_credit(session, await self._database.now(session))
                return None if pending is None else pending.age_seconds
        except Unavailable:
            return None

    async def _store(self, seen: "_Seen") -> Check:
        refused = Check("store", CheckStatus.FAILED, "It answers, but cannot be written.")
        try:
            await self._probes.answer(seconds=CHECK_SECONDS)
        except TimeoutError:
            # SQLite has one writer's place, and a busy front door leaves little of it: a beat that was written says enough.
            if not any(beat.role == "api" and beat.age_seconds < CHECK_SECONDS for beat in seen.beats):
                return refused
        except (Unavailable, SQLAlchemyError, OSError):
            return refused
        warnings = "".join(f" Warning: {flaw}." for flaw in seen.flaws) + pending_credit(seen.credit_seconds)
        return Check("store", CheckStatus.OK, f"It answers, and can be written.{warnings}{clock_complaints(seen.beats)}")

    def _migrations(self, revision: str | None) -> Check:
        if revision == self._newest_revision:
            return Check("migrations", CheckStatus.OK, "The tables are current.")
        return Check("migrations", CheckStatus.FAILED, "The tables are not current: run `makegood migrate`.")

    async def _measure(self) -> StoreGauges:
        """Each figure by itself, until the time is over; one that takes too long is left out."""
        async with self._database.measuring() as session:
            workers = fresh_workers(await heartbeats.read_beats(session, await self._database.now(session)))
        left_out, give_up_at = 0, asyncio.get_running_loop().time() + MEASURE_SECONDS
        found: dict[str, float] = {name: reported(workers, name) for name in ("callbacks_running", "callbacks_waiting")}
        for measure in gauges.MEASURES:
            if asyncio.get_running_loop().time() > give_up_at:
                left_out += 1
                continue
            try:
                async with self._database.measuring() as session:
                    found |= await measure(session, await self._database.now(session))
            except (Unavailable, SQLAlchemyError, OSError):
                left_out += 1
        return StoreGauges(figures=found, left_out=left_out)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look at the store found."""

    revision: str | None
    beats: tuple[Beat, ...]
    flaws: tuple[Flaw, ...]
    alerts: FailingAlerts | None
    stuck_runs: int | None
    credit_seconds: float | None  # since the oldest outage ended that has not reached every deadline


def health_router(*, health: Health, gate: Authenticator, counts: Counts, is_metrics_open: bool) -> APIRouter:
    """The three routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> JSONResponse:
        """This process serves requests; nothing else is asked."""
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when everything works, else 503; each check with what it found."""
        checks = await health.checks()
        is_ready = all(check.status is CheckStatus.OK for check in checks)
        found = {check.name: {"status": check.status.value, "detail": check.detail} for check in checks}
        body = {"status": "ok" if is_ready else "failed", "checks": found}
        return JSONResponse(body, status_code=200 if is_ready else 503, headers={"Cache-Control": "no-store"})

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """For Prometheus, from this machine or with a key that may read."""
        if not is_metrics_open and not is_own_machine(request):
            # Figures of the whole installation: a project's key that may only send receipts has no business with them.
            await gate.admit(read_headers(request.scope["headers"]), Scope.READ, Scope.ADMIN)
        return Response(render(counts, await health.gauges()), media_type=METRICS_TYPE)

    return router


def is_own_machine(request: Request) -> bool:
    """A loopback peer that speaks for itself: behind a proxy on this machine everybody would look like one."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
