"""Whether this installation works: `/livez`, `/readyz` and `/metrics`. Reads the store and its heartbeats, never the engine.

Ready means: the store answers and its tables are current, a worker reaches the engine, and one does work: it asks for tasks, and
a canary finished through it within 60 s. Each check says so for itself, so that a red answer names its cause, and what cannot be
known because of it is `unknown`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.auth import Gate
from api.headers import read_headers
from api.metrics import Counts, StoreGauges, render
from domain.clocks import clock_complaint
from domain.errors import Unavailable
from domain.projects import Scope
from store import gauges, heartbeats, outbox, reading
from store.database import Database
from store.heartbeats import Beat
from store.migrating import migration_state

# Beats come every 2 s; a worker that is busy or restarting gets a few of them.
FRESH_SECONDS = 10.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("forwarded", "x-forwarded-for")


class CheckStatus(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work, and what was found; `unknown` where another check that failed hides it."""

    name: str
    status: CheckStatus
    detail: str


class Health:
    """The checks on one store."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._is_migrated = False

    async def checks(self) -> tuple[Check, ...]:
        """Every check, now."""
        try:
            async with self._database.reading() as session:
                beats = await heartbeats.read_beats(session, await self._database.now(session))
        except (Unavailable, SQLAlchemyError):
            return (
                Check("store", CheckStatus.FAILED, "The store does not answer."),
                Check("migrations", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
                Check("engine", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
                Check("worker", CheckStatus.UNKNOWN, "Not known while the store does not answer."),
            )
        return (Check("store", CheckStatus.OK, _answers(beats)), await self._migrations(), *judge_workers(beats))

    async def readiness(self) -> dict[str, CheckStatus]:
        """The checks by name, for the console."""
        return {check.name: check.status for check in await self.checks()}

    async def gauges(self) -> StoreGauges | None:
        """What the store knows for `/metrics`; None while it does not answer."""
        try:
            async with self._database.reading() as session:
                now = await self._database.now(session)
                counted = await reading.counts(session, None, now)
                measured = await gauges.read_gauges(session, now)
                outbox_age = await outbox.oldest_age(session, now)
                workers = _fresh_workers(await heartbeats.read_beats(session, now))
                return StoreGauges(
                    waiting=counted.waiting,
                    open_incidents=counted.open,
                    repairing_incidents=counted.repairing,
                    outbox_rows=await outbox.count(session),
                    outbox_age_seconds=0.0 if outbox_age is None else outbox_age.total_seconds(),
                    deadline_lag_seconds=measured.deadline_lag_seconds,
                    attempts=measured.attempts,
                    alerts_unsent=measured.alerts_unsent,
                    callbacks_running=_reported(workers, "callbacks_running"),
                    callbacks_waiting=_reported(workers, "callbacks_waiting"),
                )
        except (Unavailable, SQLAlchemyError):
            return None

    async def _migrations(self) -> Check:
        if not self._is_migrated:
            try:
                current, head = await asyncio.to_thread(migration_state, self._database.url)
            except (OSError, SQLAlchemyError):
                return Check("migrations", CheckStatus.UNKNOWN, "The store does not answer.")
            self._is_migrated = current == head
        if self._is_migrated:
            return Check("migrations", CheckStatus.OK, "The tables are current.")
        return Check("migrations", CheckStatus.FAILED, "The tables are not current: run `makegood migrate`.")


def judge_workers(beats: Sequence[Beat]) -> tuple[Check, Check]:
    """The checks of engine and worker, from what the workers last said."""
    fresh = _fresh_workers(beats)
    if not fresh:
        return (
            Check("engine", CheckStatus.UNKNOWN, "Not known: no worker is alive to say."),
            Check("worker", CheckStatus.FAILED, "No worker has been alive in the last 10 seconds."),
        )
    if not any(beat.report.get("engine_reachable") for beat in fresh):
        return (
            Check("engine", CheckStatus.FAILED, "No worker reaches Temporal."),
            Check("worker", CheckStatus.UNKNOWN, f"{len(fresh)} alive; whether they take work shows once Temporal is reached."),
        )
    engine = Check("engine", CheckStatus.OK, "A worker reaches it.")
    polling = [beat for beat in fresh if beat.report.get("pollers_alive")]
    if not polling:
        return engine, Check("worker", CheckStatus.FAILED, "No living worker takes work from Temporal.")
    if not any(beat.report.get("canary_fresh") for beat in polling):
        return engine, Check("worker", CheckStatus.FAILED, "No living worker has finished a canary in the last 60 seconds.")
    return engine, Check("worker", CheckStatus.OK, f"{len(fresh)} alive.")


def _answers(beats: Sequence[Beat]) -> str:
    """That the store answers, and whose clock is far from its own: no failure, since nothing relies on a host's clock."""
    fresh = [beat for beat in beats if beat.age_seconds <= FRESH_SECONDS and not beat.report.get(heartbeats.ENDED)]
    complaints = [clock_complaint(beat.process, beat.report.get(heartbeats.CLOCK)) for beat in fresh]
    return " ".join(["It answers.", *filter(None, complaints)])


def _fresh_workers(beats: Sequence[Beat]) -> list[Beat]:
    return [beat for beat in beats if beat.role == "worker" and beat.age_seconds <= FRESH_SECONDS]


def _reported(workers: Sequence[Beat], name: str) -> int:
    """The sum of a count that workers report; one that has no engine yet reports none."""
    return sum(count for worker in workers if isinstance(count := worker.report.get(name), int))


def health_router(*, health: Health, gate: Gate, counts: Counts, is_metrics_open: bool) -> APIRouter:
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
