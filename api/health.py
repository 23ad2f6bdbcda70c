"""Whether this installation works: `/livez`, `/readyz` and `/metrics`. Reads the store and its heartbeats, never the engine.

Ready means: the store answers, can be written and has current tables; a worker reaches Temporal, and one does work: it asks for
tasks, and a canary finished through it within 60 s; alerts are sent; and no receipt has a run that cannot go on. Each check says
so for itself, so that a red answer names its cause, and what cannot be known because of it is `unknown`. A caller who asks while
a check runs gets its answer.
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
from api.flights import Flight
from api.headers import read_headers
from api.metrics import Counts, StoreGauges, render
from domain.errors import Unavailable
from domain.projects import Scope
from domain.temporal_problems import ProblemKind
from domain.texts import one_line
from store import gauges, heartbeats
from store.database import Database
from store.durability import Flaw, find_flaws
from store.gauges import FailingAlerts
from store.heartbeats import Beat
from store.migrating import read_revision, revisions
from store.stuck_runs import count_stuck

# Beats come every 2 s; a worker that is busy or restarting gets a few of them.
FRESH_SECONDS = 10.0
# What asks for readiness or metrics gives up soon itself.
CHECK_SECONDS = 4.0
MEASURE_SECONDS = 4.0
# A restart of the mail server is over by then.
ALERTS_FAIL_SECONDS = 300.0
RESTART_STUCK = "`makegood receipt restart --stuck` restarts them."
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("forwarded", "x-forwarded-for")


STRANGERS = "Workers of another store take its tasks: `makegood doctor` names them."
PROBLEMS = {
    ProblemKind.UNREACHABLE: "A worker does not reach Temporal.",
    ProblemKind.TLS: "A worker has no TLS connection with Temporal.",
    ProblemKind.UNAUTHORIZED: "Temporal does not let a worker in.",
    ProblemKind.NAMESPACE_MISSING: "Temporal has no namespace of the name that a worker was given.",
    ProblemKind.NAMESPACE_TAKEN: "The namespace that a worker was given belongs to another installation.",
    ProblemKind.STORE_ELSEWHERE: "A worker was given another namespace than the other workers of this store.",
    ProblemKind.FAILED: "The work of a worker for Temporal ended.",
}


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
        return (*checks, self._alerts(seen), _judge_runs(seen.stuck_runs))

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
            return _Seen(revision, tuple(beats), flaws, None, None)
        return _Seen(revision, tuple(beats), flaws, await self._failing_alerts(), await self._stuck_runs())

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
        warnings = "".join(f" Warning: {flaw}." for flaw in seen.flaws)
        return Check("store", CheckStatus.OK, f"It answers, and can be written.{warnings}")

    def _migrations(self, revision: str | None) -> Check:
        if revision == self._newest_revision:
            return Check("migrations", CheckStatus.OK, "The tables are current.")
        return Check("migrations", CheckStatus.FAILED, "The tables are not current: run `makegood migrate`.")

    async def _measure(self) -> StoreGauges:
        """Each figure by itself, until the time is over; one that takes too long is left out."""
        async with self._database.measuring() as session:
            workers = _fresh_workers(await heartbeats.read_beats(session, await self._database.now(session)))
        left_out, give_up_at = 0, asyncio.get_running_loop().time() + MEASURE_SECONDS
        found: dict[str, float] = {name: _reported(workers, name) for name in ("callbacks_running", "callbacks_waiting")}
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


def _judge_runs(count: int | None) -> Check:
    if count is None:
        return Check("runs", CheckStatus.UNKNOWN, "Not known while the store does not answer or its tables are not current.")
    if count:
        return Check("runs", CheckStatus.FAILED, f"{count} receipts have a workflow that cannot go on: {RESTART_STUCK}")
    return Check("runs", CheckStatus.OK, "No workflow is known to be stuck.")


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
            Check("engine", CheckStatus.FAILED, _problems(fresh) or "No worker reaches Temporal."),
            Check("worker", CheckStatus.UNKNOWN, f"{len(fresh)} alive; whether they take work shows once Temporal is reached."),
        )
    strangers = STRANGERS if any(beat.report.get("strangers") for beat in fresh) else ""
    told = ("A worker reaches it.", _problems(fresh), strangers, _shortcomings(fresh))
    engine = Check("engine", CheckStatus.OK, " ".join(filter(None, told)))
    polling = [beat for beat in fresh if beat.report.get("pollers_alive")]
    if not polling:
        return engine, Check("worker", CheckStatus.FAILED, "No living worker takes work from Temporal.")
    # None: Temporal takes no canary from it, which says nothing of the worker.
    if all(beat.report.get("canary_fresh", False) is False for beat in polling):
        return engine, Check("worker", CheckStatus.FAILED, "No living worker has finished a canary in the last 60 seconds.")
    return engine, Check("worker", CheckStatus.OK, f"{len(fresh)} alive.")


def judge_alerts(found: FailingAlerts) -> Check:
    """The check of alerts: failed while some fail for minutes, or ended unsent, and none was sent meanwhile.

    While others are sent, a few addresses that fail are named and make nothing red: no project may do that to the others.
    """
    is_bad = found.failing_seconds >= ALERTS_FAIL_SECONDS or found.ended > 0
    if not is_bad:
        detail = f"{found.failing} are tried again." if found.failing else "None fails."
        return Check("alerts", CheckStatus.OK, detail)
    kind = f" ({one_line(found.error, longest=100)})" if found.error else ""
    detail = f"{found.failing} fail, the first for {found.failing_seconds / 60:.0f} minutes"
    detail += f"; {found.ended} ended unsent in the last 15 minutes{kind}."
    if found.last_sent_seconds is not None and found.last_sent_seconds < ALERTS_FAIL_SECONDS:
        return Check("alerts", CheckStatus.OK, f"{detail} Others are sent.")
    return Check("alerts", CheckStatus.FAILED, detail)


def _problems(workers: Sequence[Beat]) -> str:
    """Why workers do no work for Temporal, in our own words alone: anybody may read this, and details name machines."""
    found = [beat.report.get("temporal_problem") for beat in workers]
    kinds = {str(problem.get("kind")) for problem in found if isinstance(problem, dict)}
    told = [PROBLEMS[kind] for kind in ProblemKind if kind.value in kinds]
    return " ".join([*told, "`makegood doctor` says how to repair it."]) if told else ""


def _shortcomings(workers: Sequence[Beat]) -> str:
    """What the workers do without."""
    found = [lines for beat in workers if isinstance(lines := beat.report.get("missing"), list)]
    missing = sorted({str(line).partition(":")[0] for lines in found for line in lines})
    return f"Temporal lacks what serves search or comfort: {', '.join(missing)}." if missing else ""


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
