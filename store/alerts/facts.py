"""Reads the contents of an alert beside ids, one alert at a time.

So an unreadable one does not affect the others.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import AlertChannel, AlertDestination
from domain.ids import ProjectId, is_project_id
from domain.incidents import AlertKind, RepairCause
from domain.sources.source import Gap, is_source_id
from domain.values.enums import member_or_text
from domain.values.timestamps import from_unix_ms
from domain.wording.dates import UTC_DATES, ReaderDates
from store.alerts.delivery import destination_digest
from store.alerts.destinations import read_destinations
from store.alerts.due import AlertDue, AlertFacts, AnyFacts, SourceAlertFacts, UnclaimedFacts
from store.people.preferences import read_dates_of_address
from store.receipts.early_results.unclaimed import read_unclaimed
from store.receipts.queries import read_incident
from store.receipts.rows.failures import read_repair_failure
from store.schema.mappers import gap_from, source_from
from store.schema.tables import PROJECTS, REPAIRS, SOURCE_GAPS, SOURCES


async def read_facts(session: AsyncSession, alert: AlertDue, now: datetime) -> AnyFacts:
    """The facts of an alert at `now`.

    Raises:
        LookupError: its incident, source or project is not stored.
        OverflowError: a row holds an instant that does not exist.
    """
    if is_source_id(alert.incident_id):
        return await _read_source_facts(session, alert)
    if is_project_id(alert.incident_id):
        return await _read_unclaimed_facts(session, alert, now)
    found = await read_incident(session, None, alert.incident_id)
    if found is None:
        raise LookupError(
            f"alert {alert.alert_id} refers to {alert.incident_id}, which is not stored"
        )
    project_id = found.incident.project_id
    name = await session.scalar(select(PROJECTS.c.name).where(PROJECTS.c.id == project_id))
    destinations = (await read_destinations(session, [project_id]))[project_id]
    cause, failure = None, None
    if alert.replay_id is not None:
        cause = await session.scalar(
            select(REPAIRS.c.cause).where(REPAIRS.c.replay_id == alert.replay_id)
        )
        failure = await read_repair_failure(session, alert.event_id, alert.replay_id)
    return AlertFacts(
        incident=found.incident,
        receipt=found.receipt,
        project_name=name or "",
        destinations=destinations,
        cause=None if cause is None else member_or_text(RepairCause, cause),
        failing=_failing(destinations, alert),
        repair_failure=failure,
    )


async def read_dates(session: AsyncSession, alert: AlertDue) -> ReaderDates:
    """How the reader of an alert sees times. UTC for an address that is nobody's, and for what is
    no mail.
    """
    if alert.channel != AlertChannel.EMAIL:
        return UTC_DATES
    return await read_dates_of_address(session, alert.destination)


async def _read_source_facts(session: AsyncSession, alert: AlertDue) -> SourceAlertFacts:
    source_id = alert.incident_id
    row = (await session.execute(select(SOURCES).where(SOURCES.c.id == source_id))).first()
    if row is None:
        raise LookupError(f"alert {alert.alert_id} refers to {source_id}, which is not stored")
    source = source_from(row)
    of_project = select(PROJECTS.c.name, PROJECTS.c.mode).where(PROJECTS.c.id == source.project_id)
    project = (await session.execute(of_project)).first()
    destinations = (await read_destinations(session, [source.project_id]))[source.project_id]
    began_at = _episode(alert)
    gap = None if began_at is None else await _read_gap(session, source_id, began_at)
    lasts = gap is not None or began_at in (None, source.problem_since, source.silent_since)
    return SourceAlertFacts(
        source=source,
        livemode=project is not None and project.mode == "live",
        project_name="" if project is None else project.name,
        destinations=destinations,
        gap=gap,
        failing=_failing(destinations, alert),
        is_over=row.deleted_at is not None or not lasts,
    )


async def _read_unclaimed_facts(
    session: AsyncSession, alert: AlertDue, now: datetime
) -> UnclaimedFacts:
    project_id = ProjectId(alert.incident_id)
    by_id = select(PROJECTS.c.name, PROJECTS.c.mode).where(PROJECTS.c.id == project_id)
    project = (await session.execute(by_id)).first()
    if project is None:
        raise LookupError(f"alert {alert.alert_id} refers to {project_id}, which is not stored")
    destinations = (await read_destinations(session, [project_id]))[project_id]
    return UnclaimedFacts(
        project_id=project_id,
        livemode=project.mode == "live",
        project_name=project.name,
        destinations=destinations,
        unclaimed=await read_unclaimed(session, project_id, now),
        failing=_failing(destinations, alert),
    )


def _episode(alert: AlertDue) -> datetime | None:
    """When the episode began that the alert reports; None for a notice of a destination."""
    if alert.kind != AlertKind.SOURCE_SILENT or not (alert.about or "").isdecimal():
        return None
    return from_unix_ms(int(alert.about or 0))


async def _read_gap(session: AsyncSession, source_id: str, found_at: datetime) -> Gap | None:
    is_it = (SOURCE_GAPS.c.source_id == source_id, SOURCE_GAPS.c.found_at == found_at)
    row = (await session.execute(select(SOURCE_GAPS).where(*is_it).limit(1))).first()
    return None if row is None else gap_from(row)


def _failing(destinations: Sequence[AlertDestination], alert: AlertDue) -> str | None:
    """The destination that a notice is about."""
    is_it = (one.title for one in destinations if destination_digest(one.name) == alert.about)
    return next(is_it, None)
