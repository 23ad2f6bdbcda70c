"""The checks of `makegood doctor` that ask the store: migrations, durability, clock, the workers' heartbeats, the repair URLs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from cli.doctor.findings import Check, Finding, Verdict, fail, ok, warn
from cli.output import reason_of
from domain.values.clocks import clock_complaint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from config.settings import Settings
    from domain.projects import Project
    from store.db.database import Database
    from store.db.durability import Flaw
    from store.status.heartbeats import Beat

# Signatures and deadlines are the database's; TLS, sign-in and logs are this host's.
SMALL_SKEW_SECONDS = 2.0
LARGE_SKEW_SECONDS = 60.0
# A worker writes every 2 s.
FRESH_BEAT_SECONDS = 10.0
NO_STORE = "the store is not ready"
MEND_STORE = "mend what `Store` says first"


@asynccontextmanager
async def opened_store(settings: "Settings") -> "AsyncIterator[Database | None]":
    """The store, for reading alone; None when there is none yet, since opening SQLite would make an empty one."""
    from store.db.database import Database

    if settings.database_url is None and not (settings.data_dir / "makegood.db").exists():
        yield None
        return
    database = Database.open(settings.database_url_or_default)
    try:
        yield database
    finally:
        await database.close()


def store_checks(settings: "Settings", database: "Database | None") -> tuple[Check, ...]:
    """The checks in the order in which people read them."""

    async def store() -> Finding:
        return await asyncio.to_thread(check_migrations, settings)

    asked: tuple[tuple[str, Callable[[Database], Awaitable[Finding]]], ...] = (
        *(("Durability", _check_durability), ("Sealed secrets", lambda opened: _check_sealed(opened, settings))),
        *(("Clock", _check_clock), ("Worker", _check_worker), ("Workflows", _check_runs)),
        *(("Repair URLs", lambda opened: _check_repair_urls(opened, settings)), ("Alerts", _check_alerts)),
        ("Outages", _check_credit),
    )
    return (Check("Store", store), *(Check(name, partial(_with_store, database, ask)) for name, ask in asked))


def check_migrations(settings: "Settings") -> Finding:
    """Whether the store can be reached and its tables are those of this version. Not for the event loop."""
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import migration_state, revisions

    try:
        current, newest = migration_state(settings.database_url_or_default)
    except (OSError, SQLAlchemyError) as error:
        return fail(
            f"cannot be reached: {reason_of(error, characters=200)}", fix="start the database, or correct MAKEGOOD_DATABASE_URL"
        )
    if current is None:
        return fail("there are no tables yet", fix="run `makegood up` once, or `makegood migrate`")
    if current not in revisions():
        told = f"its tables are at {current}, of a newer version; this one needs {newest}"
        return fail(told, fix=f"run that version, or have it go back first: makegood migrate --to {newest}")
    if current != newest:
        return fail(f"its tables are at {current}, this version needs {newest}", fix="makegood migrate")
    return ok(f"reachable, tables at {current}")


def judge_skew(seconds: float) -> Finding:
    """What the difference between the host's clock and the database's means."""
    told = f"this host's clock and the database's differ by {seconds:.1f} s"
    if abs(seconds) > LARGE_SKEW_SECONDS:
        return fail(told, fix="synchronise both machines' clocks (NTP): signatures and deadlines are the database's")
    if abs(seconds) > SMALL_SKEW_SECONDS:
        return warn(told, fix="synchronise both machines' clocks (NTP)")
    return ok(told)


def judge_clocks(seconds: float, beats: "Sequence[Beat]") -> Finding:
    """What this host's clock means, and those that the API and worker processes report of theirs."""
    from store.status.heartbeats import CLOCK, ENDED

    here = judge_skew(seconds)
    if here.verdict is Verdict.FAIL:
        return here
    fresh = [beat for beat in beats if beat.age_seconds <= FRESH_BEAT_SECONDS and not beat.report.get(ENDED)]
    complaints = [told for beat in fresh if (told := clock_complaint(beat.process, beat.report.get(CLOCK)))]
    if complaints:
        return warn(" ".join(complaints), fix="synchronise the clock of the host that each runs on (NTP)")
    return here


def judge_beats(beats: "Sequence[Beat]") -> Finding:
    """What the workers' heartbeats say."""
    start = "start one: `makegood worker`, or everything: `makegood up`"
    workers = [beat for beat in beats if beat.role == "worker"]
    if not workers:
        return fail("no worker has ever written a heartbeat, or none lately", fix=start)
    youngest_seconds = min(beat.age_seconds for beat in workers)
    if youngest_seconds > FRESH_BEAT_SECONDS:
        return fail(f"the last heartbeat is {youngest_seconds:.0f} s old", fix=start)
    fresh = [beat for beat in workers if beat.age_seconds <= FRESH_BEAT_SECONDS]
    for beat in fresh:
        if isinstance(problem := beat.report.get("temporal_problem"), dict):
            return fail(f"{beat.process} does no work for Temporal: {problem.get('detail')}", fix=str(problem.get("fix")))
    if silent := sorted({name for beat in fresh for name, value in beat.report.items() if value is False}):
        told = f"{len(fresh)} alive, but one says no to: {', '.join(name.replace('_', ' ') for name in silent)}"
        return fail(told, fix="see whether Temporal answers (TEMPORAL_ADDRESS), then the worker's log")
    for beat in fresh:
        if isinstance(strangers := beat.report.get("strangers"), list):
            told = f"workers that are not of this store take its tasks: {', '.join(map(str, strangers))}"
            return fail(told, fix="stop them, or give the store that they work for a namespace of its own (TEMPORAL_NAMESPACE)")
    told = f"{len(fresh)} alive, last heartbeat {youngest_seconds:.0f} s ago"
    found = [lines for beat in fresh if isinstance(lines := beat.report.get("missing"), list)]
    if missing := sorted({str(line) for lines in found for line in lines}):
        fix = "nothing is lost by it; docs/temporal.md says what each of these serves and how to have it"
        return warn(f"{told}; Temporal lacks {'; '.join(missing)}", fix=fix)
    return ok(told)


def judge_flaws(flaws: "Sequence[Flaw]") -> Finding:
    """What settings against durability mean. One that our own commits override is a warning."""
    detail = "; ".join(str(flaw) for flaw in flaws)
    if ours := [flaw.setting for flaw in flaws if flaw.is_ours]:
        return fail(detail, fix=f"set {' and '.join(ours)} to on in postgresql.conf, or at the provider, and restart PostgreSQL")
    if flaws:
        return warn(detail, fix="ALTER SYSTEM, DATABASE or ROLE … RESET synchronous_commit, wherever it was set")
    return ok("a commit is on disk before it is acknowledged")


async def _with_store(database: "Database | None", check: "Callable[[Database], Awaitable[Finding]]") -> Finding:
    from sqlalchemy.exc import DBAPIError

    from domain.errors import Unavailable

    if database is None:
        return fail(NO_STORE, fix=MEND_STORE)
    try:
        return await check(database)
    except (Unavailable, DBAPIError, OSError):
        return fail(NO_STORE, fix=MEND_STORE)


async def _check_sealed(database: "Database", settings: "Settings") -> Finding:
    from config.secret_files import SettingsError
    from store.crypto.encryption import Sealer
    from store.crypto.root_secret import SecretUnknown, secret_status

    see = "makegood secret status"
    try:
        sealer = Sealer(settings.read_secret_key(), settings.read_previous_secret_key())
        async with database.reading() as session:
            found = await secret_status(session, sealer, await database.now(session))
    except SettingsError:
        return fail("nothing can be opened without the secret key", fix="mend what `Secret key` says first")
    except SecretUnknown as error:
        return fail("they were sealed with another secret key", fix=str(error).partition(": ")[2])
    if found.unopened:
        told = f"no secret key known here opens those of {len(found.unopened)} projects"
        return fail(told, fix="set MAKEGOOD_SECRET_KEY to the one that they were sealed with")
    if found.unopened_factors:
        people = [one.email or one.user_id for one in found.unopened_factors]
        told = f"no secret key known here opens the authenticator apps of {len(people)} people: {', '.join(people[:5])}"
        return fail(told, fix=f"let each set up another, after `makegood user reset-totp {people[0]}`")
    if not found.has_previous:
        return ok("the secret key opens all of them")
    if not found.is_rotated:
        return warn("a new secret key is known and not in force yet", fix="makegood secret rotate")
    if found.old_projects or found.old_factors:
        return warn("some were sealed with the previous secret key after it was replaced", fix="makegood secret rotate")
    if found.old_keys:
        return ok(f"all opened; {len(found.old_keys)} API keys were not used since the secret key was replaced ({see})")
    return warn("nothing needs the previous secret key any more", fix=see)


async def _check_clock(database: "Database") -> Finding:
    from store.status.heartbeats import read_beats

    if database.dialect == "sqlite":
        return ok("the host's own, as SQLite has none")
    async with database.reading() as session:
        before = datetime.now(UTC)
        there = await database.now(session)
        here = before + (datetime.now(UTC) - before) / 2
        beats = await read_beats(session, there)
    return judge_clocks((here - there).total_seconds(), beats)


async def _check_durability(database: "Database") -> Finding:
    from sqlalchemy.exc import DBAPIError

    from domain.errors import Unavailable
    from store.db.durability import find_flaws

    async with database.watching() as session:
        flaws = await find_flaws(session)
    try:
        await database.check_writable()
    except (Unavailable, DBAPIError):
        detail = "the store can be read and cannot be written: every receipt is refused with 503"
        return fail(
            detail, fix="see whether it is a standby, read-only, or locked by another process; nothing here needs a restart"
        )
    return judge_flaws(flaws)


async def _check_worker(database: "Database") -> Finding:
    from store.status.heartbeats import read_beats

    async with database.reading() as session:
        return judge_beats(await read_beats(session, await database.now(session)))


async def _check_credit(database: "Database") -> Finding:
    from operations.readiness import outage_credit_warning
    from store.receipts.outage_credit import read_pending_credit

    async with database.reading() as session:
        pending = await read_pending_credit(session, await database.now(session))
    if pending is None:
        return ok("none is left to credit")
    told = outage_credit_warning(pending.age_seconds).removeprefix(" Warning: ")
    fix = "see the worker's log for crediting_failed; deadlines are judged with their credit meanwhile"
    return warn(told, fix=fix) if told else ok("one is being credited to the deadlines that were open in it")


async def _check_alerts(database: "Database") -> Finding:
    from operations.readiness import CheckStatus, judge_alerts
    from store.maintenance.metrics import read_failing_alerts

    async with database.reading() as session:
        found = await read_failing_alerts(session, await database.now(session))
    judged = judge_alerts(found)
    fix = "see the incidents' timelines for whom they were, then what `Mail` says and the worker's log"
    if judged.status is CheckStatus.FAILED:
        return fail(judged.detail, fix=fix)
    return warn(judged.detail, fix=fix) if found.failing or found.ended else ok(judged.detail)


async def _check_runs(database: "Database") -> Finding:
    from domain.runs import CAUSE_TEXTS, StuckCause
    from store.receipts.stuck_runs import count_stuck, stuck_runs

    async with database.reading() as session:
        count, first = await count_stuck(session), await stuck_runs(session, after=None, limit=1)
    if not first:
        return ok("none is known to be stuck")
    told = CAUSE_TEXTS[first[0].cause or StuckCause.TASK_FAILS]
    return fail(
        f"{count} receipts have one that cannot go on; of {first[0].event_id}: {told}", fix="makegood receipt restart --stuck"
    )


async def _check_repair_urls(database: "Database", settings: "Settings") -> Finding:
    from store.db.paging import LISTED_AT_MOST
    from store.projects.projects import list_projects

    async with database.reading() as session:
        projects = await list_projects(session, is_working=True)
    if not projects:
        return warn("there is no project yet", fix="makegood project create NAME --mode test")
    problems = [problem for project in projects if (problem := await _repair_problem(project, settings))]
    if problems:
        name, told = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return warn(f"{name}: {told}{more}", fix=f"makegood project set {name!r} --repair-url https://…")
    which = "the newest " if len(projects) >= LISTED_AT_MOST else ""
    return ok(f"{which}{len(projects)} may be called")


async def _repair_problem(project: "Project", settings: "Settings") -> tuple[str, str] | None:
    """The project's name and what is wrong; None when its URL may be called now."""
    from egress.policy import UnsafeUrl
    from egress.transport import judge_url

    if project.repair_url is None:
        return project.name, "has no repair URL, so Reprocess is refused"
    if project.repair_url_gone:
        return project.name, "its repair URL answered 410 Gone"
    try:
        await judge_url(project.repair_url, allow=settings.egress_allow)
    except UnsafeUrl as error:
        return project.name, str(error)
    return None
