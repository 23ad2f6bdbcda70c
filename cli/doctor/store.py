"""The checks that query the store: migrations, durability, encryption, stuck runs, repair URLs,
alerts, outages.

`cli.doctor.heartbeats` has the checks of clocks and workers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cli.doctor.destinations import check_destinations
from cli.doctor.findings import Check, Finding, fail, ok, warn
from cli.doctor.heartbeats import check_clock, check_worker
from cli.doctor.passkeys import check_passkeys
from cli.doctor.projects import check_projects
from cli.doctor.repairing import check_repairing
from cli.doctor.sources import check_sources
from cli.output import first_line_of
from config.secret_files import SettingsError
from config.settings import Settings
from domain.errors import Unavailable
from domain.projects import Project
from domain.temporal.runs import StuckCause, cause_text
from egress.policy import UnsafeUrl
from egress.transport import judge_url
from operations.readiness import (
    CheckStatus,
    judge_alerts,
    outage_credit_warning,
)
from store.crypto.encryption import Sealer
from store.crypto.root_secret import SecretUnknown, secret_status
from store.db.database import Database
from store.db.durability import Flaw, find_flaws
from store.db.paging import LISTED_AT_MOST
from store.db.sql import SessionStatements
from store.maintenance.metrics import read_failing_alerts
from store.projects.projects import list_projects
from store.receipts.lists.search_index import FIX_SEARCH_INDEX, has_trigrams
from store.receipts.pending_credit import read_pending_credit
from store.receipts.reconcile.stuck_runs import count_stuck, stuck_runs
from store.revisions import migration_state, revisions

NO_STORE = "the store is not ready"
FIX_STORE = "fix the problem of `Store` first"


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Database | None]:
    """The open store; None when there is none yet, because opening SQLite would create an empty
    file.
    """
    if settings.database_url is None and not (settings.data_dir / "makegood.db").exists():
        yield None
        return
    database = Database.open(settings.database_url_or_default)
    try:
        yield database
    finally:
        await database.close()


def store_checks(settings: Settings, database: Database | None) -> tuple[Check, ...]:
    """The checks in the order of the output."""

    async def store() -> Finding:
        return await asyncio.to_thread(check_migrations, settings)

    checks: tuple[tuple[str, Callable[[Database], Awaitable[Finding]]], ...] = (
        *(
            ("Durability", _check_durability),
            ("Sealed secrets", lambda opened: _check_sealed(opened, settings)),
        ),
        *(("Clock", check_clock), ("Worker", check_worker), ("Workflows", _check_runs)),
        *(
            ("Repair URLs", lambda opened: _check_repair_urls(opened, settings)),
            ("Alerts", _check_alerts),
        ),
        *(("Outages", _check_credit), ("Search index", check_search_index)),
        *(("Sources", check_sources), ("Projects", check_projects)),
        *(("Destinations", check_destinations), ("Repairs of many", check_repairing)),
        ("Passkeys", lambda opened: check_passkeys(opened, settings)),
    )
    return (
        Check("Store", store),
        *(Check(name, partial(_with_store, database, check)) for name, check in checks),
    )


def check_migrations(settings: Settings) -> Finding:
    """Whether the database is reachable and its tables are those of this version. Blocks: call it
    in a thread.
    """
    try:
        current, newest = migration_state(settings.database_url_or_default)
    except (OSError, SQLAlchemyError) as error:
        return fail(
            f"cannot be reached: {first_line_of(error, characters=200)}",
            fix="start the database, or correct MAKEGOOD_DATABASE_URL or MAKEGOOD_DATA_DIR",
        )
    if current is None:
        return fail("there are no tables yet", fix="run `makegood up` once, or `makegood migrate`")
    if current not in revisions():
        detail = f"its tables are at {current}, of a newer version; this version needs {newest}"
        return fail(
            detail, fix=f"run that version, or migrate back with it: makegood migrate --to {newest}"
        )
    if current != newest:
        return fail(
            f"its tables are at {current}, this version needs {newest}", fix="makegood migrate"
        )
    return ok(f"reachable, tables at {current}")


def judge_flaws(flaws: Sequence[Flaw]) -> Finding:
    """The finding for settings that weaken durability. A setting that our own commits override is a
    warning.
    """
    detail = "; ".join(str(flaw) for flaw in flaws)
    if settings := [flaw.setting for flaw in flaws if flaw.is_ours]:
        return fail(
            detail,
            fix=(
                f"set {' and '.join(settings)} to on in postgresql.conf, or in the provider's"
                " settings, and restart PostgreSQL"
            ),
        )
    if flaws:
        return warn(
            detail,
            fix="ALTER SYSTEM, DATABASE or ROLE … RESET synchronous_commit, where it was set",
        )
    return ok("a commit is on disk before it is acknowledged")


async def check_search_index(database: Database) -> Finding:
    """Whether searches have the trigram index."""
    async with database.reading() as session:
        has_index = await has_trigrams(SessionStatements(session))
    detail = "there is none: searches for rare texts read every row, for 2 s at most"
    return ok("searches use it") if has_index else warn(detail, fix=FIX_SEARCH_INDEX)


async def _with_store(
    database: Database | None, check: Callable[[Database], Awaitable[Finding]]
) -> Finding:
    if database is None:
        return fail(NO_STORE, fix=FIX_STORE)
    try:
        return await check(database)
    except (Unavailable, DBAPIError, OSError):
        return fail(NO_STORE, fix=FIX_STORE)


async def _check_sealed(database: Database, settings: Settings) -> Finding:
    status_command = "makegood secret status"
    try:
        sealer = Sealer(settings.read_secret_key(), settings.read_previous_secret_key())
        async with database.reading() as session:
            found = await secret_status(session, sealer, await database.now(session))
    except SettingsError:
        return fail(
            "nothing can be decrypted without the secret key",
            fix="fix the problem of `Secret key` first",
        )
    except SecretUnknown as error:
        return fail(
            "they were encrypted under another secret key", fix=str(error).partition(": ")[2]
        )
    if found.unopened:
        detail = f"no known secret key decrypts those of {len(found.unopened)} projects"
        return fail(detail, fix="set MAKEGOOD_SECRET_KEY to the key that encrypted them")
    if found.unopened_factors:
        people = [one.email or one.user_id for one in found.unopened_factors]
        detail = (
            f"no known secret key decrypts the authenticator apps of {len(people)} people:"
            f" {', '.join(people[:5])}"
        )
        return fail(
            detail, fix=f"each must set up a new one, after `makegood user reset-totp {people[0]}`"
        )
    if found.lost_evidence_key:
        return fail(
            "no known secret key decrypts the evidence key, so no evidence can be signed",
            fix="makegood evidence replace-key",
        )
    if not found.has_previous:
        return ok("the secret key decrypts all of them")
    if not found.is_rotated:
        return warn(
            "a new secret key is configured and not in force yet", fix="makegood secret rotate"
        )
    if found.has_old_data_keys:
        return warn(
            "some were encrypted under the previous secret key after it was replaced",
            fix="makegood secret rotate",
        )
    if found.old_keys:
        return ok(
            f"all can be decrypted; {len(found.old_keys)} API keys are unused since the rotation"
            f" ({status_command})"
        )
    return warn("nothing needs the previous secret key", fix=status_command)


async def _check_durability(database: Database) -> Finding:
    async with database.watching() as session:
        flaws = await find_flaws(session)
    try:
        await database.check_writable()
    except (Unavailable, DBAPIError):
        detail = "the store can be read and cannot be written: every receipt is refused with 503"
        return fail(
            detail,
            fix="check whether it is a standby, read-only or locked; no process needs a restart",
        )
    return judge_flaws(flaws)


async def _check_credit(database: Database) -> Finding:
    async with database.reading() as session:
        pending = await read_pending_credit(session, await database.now(session))
    if pending is None:
        return ok("no outage is waiting for its credit")
    warning = outage_credit_warning(pending.age_seconds).removeprefix(" Warning: ")
    fix = (
        "see the worker's log for crediting_failed; deadlines already include their credit"
        " meanwhile"
    )
    return (
        warn(warning, fix=fix)
        if warning
        else ok("an outage is being credited to the deadlines that were open in it")
    )


async def _check_alerts(database: Database) -> Finding:
    async with database.reading() as session:
        found = await read_failing_alerts(session, await database.now(session))
    judged = judge_alerts(found)
    fix = (
        "see the incidents' timelines for the recipients, then the `Mail` check and the"
        " worker's log"
    )
    if judged.status is CheckStatus.FAILED:
        return fail(judged.detail, fix=fix)
    return warn(judged.detail, fix=fix) if found.failing or found.ended else ok(judged.detail)


async def _check_runs(database: Database) -> Finding:
    async with database.reading() as session:
        count, first = await count_stuck(session), await stuck_runs(session, after=None, limit=1)
    if not first:
        return ok("none is stuck")
    cause = cause_text(first[0].cause or StuckCause.TASK_FAILS)
    return fail(
        f"{count} receipts have a stuck workflow run; {first[0].event_id}: {cause}",
        fix="makegood receipt restart --stuck",
    )


async def _check_repair_urls(database: Database, settings: Settings) -> Finding:
    async with database.reading() as session:
        projects = await list_projects(session, is_working=True)
    if not projects:
        return warn("there is no project yet", fix="makegood project create NAME --mode test")
    problems = [
        problem for project in projects if (problem := await _repair_problem(project, settings))
    ]
    if problems:
        name, detail = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return warn(
            f"{name}: {detail}{more}", fix=f"makegood project set {name!r} --repair-url https://…"
        )
    which = "the newest " if len(projects) >= LISTED_AT_MOST else ""
    return ok(f"{which}{len(projects)} may be called")


async def _repair_problem(project: Project, settings: Settings) -> tuple[str, str] | None:
    """The project's name and the problem; None when its repair URL may be called."""
    if project.repair_url is None:
        return project.name, "it has no repair URL, so Reprocess is refused"
    if project.repair_url_gone:
        return project.name, "its repair URL answered 410 Gone"
    try:
        await judge_url(project.repair_url, allow=settings.egress_of(livemode=project.livemode))
    except UnsafeUrl as error:
        return project.name, str(error)
    return None
