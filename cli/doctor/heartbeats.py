"""The checks of the clocks and of the workers, from the heartbeats that processes write to the
store.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from cli.doctor.findings import Finding, Verdict, fail, ok, warn
from operations.readiness import FRESH_SECONDS, clock_complaints
from store.db.database import Database
from store.status.heartbeats import Heartbeat, read_heartbeats

# Signatures and deadlines use the database's clock; TLS, sign-in and logs use this host's.
SMALL_SKEW_SECONDS = 2.0
LARGE_SKEW_SECONDS = 60.0


async def check_clock(database: Database) -> Finding:
    """Compare this host's clock, and those of the running processes, with the database's."""
    if database.dialect == "sqlite":
        return ok("the host's own: SQLite has no clock")
    async with database.reading() as session:
        before = datetime.now(UTC)
        there = await database.now(session)
        here = before + (datetime.now(UTC) - before) / 2
        heartbeats = await read_heartbeats(session, there)
    return judge_clocks((here - there).total_seconds(), heartbeats)


async def check_worker(database: Database) -> Finding:
    """Check the heartbeats of the workers."""
    async with database.reading() as session:
        return judge_heartbeats(await read_heartbeats(session, await database.now(session)))


def judge_skew(seconds: float) -> Finding:
    """The finding for a difference between the host's clock and the database's."""
    detail = f"this host's clock and the database's differ by {seconds:.1f} s"
    if abs(seconds) > LARGE_SKEW_SECONDS:
        return fail(
            detail,
            fix=(
                "synchronise both machines' clocks (NTP): signatures and deadlines use the"
                " database's clock"
            ),
        )
    if abs(seconds) > SMALL_SKEW_SECONDS:
        return warn(detail, fix="synchronise both machines' clocks (NTP)")
    return ok(detail)


def judge_clocks(seconds: float, heartbeats: Sequence[Heartbeat]) -> Finding:
    """The finding for this host's clock and for the clocks that API and worker processes report."""
    here = judge_skew(seconds)
    if here.verdict is Verdict.FAIL:
        return here
    if complaints := clock_complaints(heartbeats):
        return warn(" ".join(complaints), fix="synchronise the clocks of their hosts (NTP)")
    return here


def judge_heartbeats(heartbeats: Sequence[Heartbeat]) -> Finding:
    """The finding for the workers' heartbeats."""
    start = "start `makegood worker`, or everything with `makegood up`"
    workers = [heartbeat for heartbeat in heartbeats if heartbeat.role == "worker"]
    if not workers:
        return fail("no worker has written a heartbeat recently", fix=start)
    youngest_seconds = min(heartbeat.age_seconds for heartbeat in workers)
    if youngest_seconds > FRESH_SECONDS:
        return fail(f"the last heartbeat is {youngest_seconds:.0f} s old", fix=start)
    fresh = [heartbeat for heartbeat in workers if heartbeat.age_seconds <= FRESH_SECONDS]
    for heartbeat in fresh:
        if isinstance(problem := heartbeat.report.get("temporal_problem"), dict):
            return fail(
                f"{heartbeat.process} cannot poll Temporal: {problem.get('detail')}",
                fix=str(problem.get("fix")),
            )
    if failing := sorted(
        {name for heartbeat in fresh for name, value in heartbeat.report.items() if value is False}
    ):
        detail = (
            f"{len(fresh)} alive, but one reports a problem with:"
            f" {', '.join(name.replace('_', ' ') for name in failing)}"
        )
        return fail(
            detail, fix="check whether Temporal answers (TEMPORAL_ADDRESS), then the worker's log"
        )
    for heartbeat in fresh:
        if isinstance(foreign := heartbeat.report.get("foreign_workers"), list):
            detail = (
                "workers of another store poll this one's task queue:"
                f" {', '.join(map(str, foreign))}"
            )
            return fail(
                detail,
                fix="stop them, or give their store a namespace of its own (TEMPORAL_NAMESPACE)",
            )
    detail = f"{len(fresh)} alive, last heartbeat {youngest_seconds:.0f} s ago"
    found = [
        lines for heartbeat in fresh if isinstance(lines := heartbeat.report.get("missing"), list)
    ]
    if missing := sorted({str(line) for lines in found for line in lines}):
        fix = "no data is lost; docs/temporal.md describes what each is for and how to add it"
        return warn(f"{detail}; Temporal lacks {'; '.join(missing)}", fix=fix)
    return ok(detail)
