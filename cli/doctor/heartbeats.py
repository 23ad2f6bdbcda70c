"""The checks of the clocks and of the workers, from the heartbeats that processes write to the
store.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from cli.doctor.findings import Finding, Verdict, fail, ok, warn
from domain.values.clocks import clock_complaint
from store.db.database import Database
from store.status.heartbeats import CLOCK, ENDED, Beat, read_beats

# Signatures and deadlines use the database's clock; TLS, sign-in and logs use this host's.
SMALL_SKEW_SECONDS = 2.0
LARGE_SKEW_SECONDS = 60.0
# A worker writes every 2 s.
FRESH_BEAT_SECONDS = 10.0


async def check_clock(database: Database) -> Finding:
    """Compare this host's clock, and those of the running processes, with the database's."""
    if database.dialect == "sqlite":
        return ok("the host's own: SQLite has no clock")
    async with database.reading() as session:
        before = datetime.now(UTC)
        there = await database.now(session)
        here = before + (datetime.now(UTC) - before) / 2
        beats = await read_beats(session, there)
    return judge_clocks((here - there).total_seconds(), beats)


async def check_worker(database: Database) -> Finding:
    """Check the heartbeats of the workers."""
    async with database.reading() as session:
        return judge_beats(await read_beats(session, await database.now(session)))


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


def judge_clocks(seconds: float, beats: Sequence[Beat]) -> Finding:
    """The finding for this host's clock and for the clocks that API and worker processes report."""
    here = judge_skew(seconds)
    if here.verdict is Verdict.FAIL:
        return here
    fresh = [
        beat
        for beat in beats
        if beat.age_seconds <= FRESH_BEAT_SECONDS and not beat.report.get(ENDED)
    ]
    complaints = [
        complaint
        for beat in fresh
        if (complaint := clock_complaint(beat.process, beat.report.get(CLOCK)))
    ]
    if complaints:
        return warn(" ".join(complaints), fix="synchronise the clocks of their hosts (NTP)")
    return here


def judge_beats(beats: Sequence[Beat]) -> Finding:
    """The finding for the workers' heartbeats."""
    start = "start `makegood worker`, or everything with `makegood up`"
    workers = [beat for beat in beats if beat.role == "worker"]
    if not workers:
        return fail("no worker has written a heartbeat recently", fix=start)
    youngest_seconds = min(beat.age_seconds for beat in workers)
    if youngest_seconds > FRESH_BEAT_SECONDS:
        return fail(f"the last heartbeat is {youngest_seconds:.0f} s old", fix=start)
    fresh = [beat for beat in workers if beat.age_seconds <= FRESH_BEAT_SECONDS]
    for beat in fresh:
        if isinstance(problem := beat.report.get("temporal_problem"), dict):
            return fail(
                f"{beat.process} cannot poll Temporal: {problem.get('detail')}",
                fix=str(problem.get("fix")),
            )
    if failing := sorted(
        {name for beat in fresh for name, value in beat.report.items() if value is False}
    ):
        detail = (
            f"{len(fresh)} alive, but one reports a problem with:"
            f" {', '.join(name.replace('_', ' ') for name in failing)}"
        )
        return fail(
            detail, fix="check whether Temporal answers (TEMPORAL_ADDRESS), then the worker's log"
        )
    for beat in fresh:
        if isinstance(foreign := beat.report.get("strangers"), list):
            detail = (
                "workers of another store poll this one's task queue:"
                f" {', '.join(map(str, foreign))}"
            )
            return fail(
                detail,
                fix="stop them, or give their store a namespace of its own (TEMPORAL_NAMESPACE)",
            )
    detail = f"{len(fresh)} alive, last heartbeat {youngest_seconds:.0f} s ago"
    found = [lines for beat in fresh if isinstance(lines := beat.report.get("missing"), list)]
    if missing := sorted({str(line) for lines in found for line in lines}):
        fix = "no data is lost; docs/temporal.md describes what each is for and how to add it"
        return warn(f"{detail}; Temporal lacks {'; '.join(missing)}", fix=fix)
    return ok(detail)
