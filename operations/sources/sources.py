"""The operations on sources: list, read, add, change, remove, check, report.

A secret goes in and never comes out: no answer, audit entry or error has it.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, RateLimited, Unavailable, ValidationFailed
from domain.ids import ProjectId, SourceId
from domain.projects import UNSET, Project
from domain.sources.changes import SourceChanges
from domain.sources.source import Gap, Source
from operations.audit_writer import AuditWriter
from operations.resolve_limit import ResolveLimit
from operations.sources import rules
from operations.sources.check import Asked, ProviderCheck
from operations.sources.inputs import NewSourceBody, SourcePatch
from operations.sources.removed_types import no_longer_expected, still_expected
from operations.validation import Json, known_id, validated
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.projects import projects
from store.sources import report, sources
from store.sources.report import EVENTS_KEPT, DayReport, SourceReport, UncountedDay

DAYS_SHOWN = 30
# For all days of a page.
COUNTING_SECONDS = 2.0
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SPELLINGS = {"is_paused": "paused"}
UNREADABLE = "The stored secret cannot be decrypted: save it again."
UNSAVED = "No delivery is taken yet: save the signing secret of the provider's page."


@dataclass(frozen=True, slots=True)
class SourceWithGaps:
    """A source, and the newest spans that it could not list."""

    source: Source
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class ChangedSource:
    """A source after a change. `warnings` are sentences for people: what the change means."""

    source: Source
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A source, and what a check of it found."""

    source: Source
    asked: Asked


class SourceOperations:
    """Sources of an opened store.

    `on_change` is called with the source's id after a commit that changed or removed it: the API
    process drops what it has cached of the hook.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditWriter,
        *,
        sealer: Sealer,
        check: ProviderCheck,
        on_change: Callable[[SourceId], None],
    ) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer
        self._check, self._on_change = check, on_change
        self._limit = ResolveLimit()

    async def list_sources(self, project_id: str) -> list[Source]:
        """The project's sources, oldest first. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading(project) as session:
            await projects.read_project(session, project)
            return await sources.list_sources(session, project)

    async def read_source(self, project_id: str, source_id: str) -> SourceWithGaps:
        """The source with its gaps. Raises: NotFound."""
        async with self._database.reading(project_id) as session:
            source = await _read(session, project_id, source_id)
            return SourceWithGaps(source, tuple(await report.list_gaps(session, source)))

    async def add_source(self, project_id: str, content: Json, *, actor: Actor) -> Source:
        """Add a source; `content` is the body of REST's POST.

        Raises: NotFound, ValidationFailed.
        """
        body, project = validated(NewSourceBody, content), ProjectId(known_id(project_id))
        async with self._database.transaction(project) as session:
            new = rules.new_source(body, await projects.read_project(session, project))
            now = await self._database.now(session)
            added = await sources.add_source(
                session, self._sealer, project_id=project, new=new, now=now
            )
            details = {"kind": added.kind.value, "expectations": len(added.expects)}
            await self._record(session, actor, AuditAction.SOURCE_ADDED, added, details)
        return added

    async def change_source(
        self, project_id: str, source_id: str, changes: Json, *, actor: Actor
    ) -> ChangedSource:
        """Change the source; `changes` is the body of REST's PATCH.

        Raises: NotFound, ValidationFailed.
        """
        patch = validated(SourcePatch, changes)
        async with self._database.transaction(project_id) as session:
            project = await _project(session, project_id)
            before = await _read(session, project.id, source_id)
            wanted = rules.source_changes(patch, before, project)
            changed = await sources.change_source(
                session,
                self._sealer,
                project_id=project.id,
                source_id=before.id,
                changes=wanted,
                now=await self._database.now(session),
            )
            details = {"fields": _given(wanted)}
            await self._record(session, actor, AuditAction.SOURCE_CHANGED, changed, details)
        self._on_change(changed.id)
        removed = no_longer_expected(before, changed)
        return ChangedSource(changed, (*removed, *still_expected(project, [changed])))

    async def read_warnings(self, project: Project) -> tuple[str, ...]:
        """What it means for the project's sources that it accepts only these types."""
        async with self._database.reading(project.id) as session:
            return still_expected(project, await sources.list_sources(session, project.id))

    async def remove_source(self, project_id: str, source_id: str, *, actor: Actor) -> Source:
        """Remove the source. What it expected before stays. Raises: NotFound."""
        async with self._database.transaction(project_id) as session:
            removed = await sources.remove_source(
                session,
                ProjectId(known_id(project_id)),
                SourceId(known_id(source_id)),
                await self._database.now(session),
            )
            await self._record(session, actor, AuditAction.SOURCE_REMOVED, removed)
        self._on_change(removed.id)
        return removed

    async def check_source(self, project_id: str, source_id: str, *, actor: Actor) -> CheckedSource:
        """Ask the provider of a listing whether the key works, and request a listing now.

        Of a webhook: what it received last. Raises: NotFound; RateLimited while four checks of the
            project run.
        """
        async with self._database.reading(project_id) as session:
            project = await _project(session, project_id)
            source = await _read(session, project.id, source_id)
            secret = await self._secret(session, source)
        # The request to the provider runs while no transaction is open.
        with self._limit.lookup(project.id):
            asked = await self._ask(source, secret, livemode=project.livemode)
        async with self._database.transaction(project_id) as session:
            if source.kind.is_webhook:
                checked = await _read(session, project.id, source.id)
            else:
                now = await self._database.now(session)
                checked = await sources.request_check(session, project.id, source.id, now)
            await self._record(
                session, actor, AuditAction.SOURCE_CHECKED, checked, {"ok": asked.ok}
            )
        return CheckedSource(checked, asked)

    async def report(self, project_id: str, source_id: str, day: str | None) -> SourceReport:
        """The report of a day, `2026-11-23`; None: today. Raises: NotFound, ValidationFailed."""
        async with self._database.searching(project_id) as session:
            source = await _read(session, project_id, source_id)
            now = await self._database.now(session)
            checked = _checked_day(day, now.astimezone(UTC).date())
            return await report.source_report(session, source, checked, now)

    async def days(
        self, project_id: str, source_id: str, count: int = DAYS_SHOWN
    ) -> list[DayReport | UncountedDay]:
        """The counts of each of the last days, oldest first. Raises: NotFound.

        The newest days are counted first. Those that are too large, and those for which no time is
        left, have none.
        """
        async with self._database.searching(project_id) as session:
            source = await _read(session, project_id, source_id)
            now = await self._database.now(session)
        ends_at, today = time.monotonic() + COUNTING_SECONDS, now.astimezone(UTC).date()
        found: list[DayReport | UncountedDay] = []
        for back in range(count):
            day = today - timedelta(days=back)
            is_late = time.monotonic() >= ends_at
            uncounted = UncountedDay(day, is_too_large=False)
            found.append(uncounted if is_late else await self._count_day(source, day, now))
        return found[::-1]

    async def _count_day(
        self, source: Source, day: date, now: datetime
    ) -> DayReport | UncountedDay:
        """The counts of a day, in a session of its own: one that takes too long ends with it."""
        try:
            async with self._database.searching(source.project_id) as session:
                if await report.sees_more(session, source, day, report.COUNTED_AT_MOST):
                    return UncountedDay(day, is_too_large=True)
                return await report.count_day(session, source, day, now)
        except (Unavailable, RateLimited):
            return UncountedDay(day, is_too_large=False)

    async def _secret(self, session: AsyncSession, source: Source) -> str | None:
        """The source's secret; None if it cannot be decrypted."""
        try:
            return await sources.read_secret(session, self._sealer, source)
        except SealBroken:
            return None

    async def _ask(self, source: Source, secret: str | None, *, livemode: bool) -> Asked:
        if secret is None:
            return Asked(ok=False, detail=UNREADABLE)
        if source.kind.is_webhook:
            return _received(source) if secret else Asked(ok=False, detail=UNSAVED)
        return await self._check.ask(source, secret, livemode=livemode)

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        source: Source,
        details: Mapping[str, object] | None = None,
    ) -> None:
        subject = Subject(SubjectType.SOURCE, source.id)
        await self._audit.record(
            session, actor, action, subject, project_id=source.project_id, details=details
        )


async def _project(session: AsyncSession, project_id: str) -> Project:
    return await projects.read_project(session, ProjectId(known_id(project_id)))


async def _read(session: AsyncSession, project_id: str, source_id: str) -> Source:
    return await sources.read_source(
        session, ProjectId(known_id(project_id)), SourceId(known_id(source_id))
    )


def _received(source: Source) -> Asked:
    """What a webhook received: nothing is asked of the provider."""
    if source.problem is not None:
        return Asked(False, "Deliveries come, and cannot be taken: see the source's problem.")
    if source.last_event_at is None:
        return Asked(False, "No event has come yet. Send one from the provider's page.")
    at = source.last_event_at.astimezone(UTC)
    return Asked(True, f"The last event came on {at:%Y-%m-%d} at {at:%H:%M:%S} UTC.")


def _checked_day(text: str | None, today: date) -> date:
    """The day that the text names. Raises: ValidationFailed."""
    if text is None:
        return today
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        raise _day_refused("invalid_format", "Must be a day, such as 2026-11-23.")
    # A row is kept for 40 days from when it was seen, which is on its day or later.
    if not today - EVENTS_KEPT < day <= today:
        message = f"Must be one of the last {EVENTS_KEPT.days} days (UTC)."
        raise _day_refused("out_of_range", message)
    return day


def _day_refused(code: str, message: str) -> ValidationFailed:
    return ValidationFailed(errors=(FieldError("/day", code, message),))


def _given(changes: SourceChanges) -> list[str]:
    """The names of the fields that are given, as REST spells them."""
    names = [field.name for field in fields(SourceChanges)]
    given = [name for name in names if getattr(changes, name) is not UNSET]
    return [_SPELLINGS.get(name, name) for name in given]
