"""Reads the contents of an alert beside ids, one alert at a time.

So an unreadable one does not affect the others.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import AlertChannel, AlertDestination
from domain.errors import NotFound
from domain.ids import (
    BulkId,
    GroupId,
    ProjectId,
    is_bulk_id,
    is_group_id,
    is_project_id,
    is_rule_id,
)
from domain.incidents import AlertKind, RepairCause
from domain.repairing.bulk import BulkRepair
from domain.repairing.rules import Rule
from domain.sources.source import Gap, is_source_id
from domain.values.enums import member_or_text
from domain.values.timestamps import from_unix_ms
from domain.wording.dates import UTC_DATES, ReaderDates
from store.alerts.delivery import destination_digest
from store.alerts.destinations import read_destinations
from store.alerts.due import (
    AlertDue,
    AlertFacts,
    AnyFacts,
    GroupAlertFacts,
    RepairingFacts,
    SourceAlertFacts,
    UnclaimedFacts,
)
from store.overview.silence import SilenceFacts, read_silence_facts
from store.people.preferences import read_dates_of_address
from store.receipts.early_results.unclaimed import read_unclaimed
from store.receipts.groups.queries import read_group
from store.receipts.queries import read_incident
from store.receipts.rows.failures import read_repair_failure
from store.repairing.bulk_repairs import read_bulk_repair
from store.schema.mappers import gap_from, source_from
from store.schema.repairing_mappers import rule_from
from store.schema.tables import (
    INCIDENT_GROUPS,
    PROJECTS,
    REPAIR_RULES,
    REPAIRS,
    SOURCE_GAPS,
    SOURCES,
)


async def read_facts(session: AsyncSession, alert: AlertDue, now: datetime) -> AnyFacts:
    """The facts of an alert at `now`.

    Raises:
        LookupError: its incident, source, group, bulk repair, rule or project is not stored.
        OverflowError: a row holds an instant that does not exist.
    """
    if is_source_id(alert.incident_id):
        return await _read_source_facts(session, alert)
    if alert.kind == AlertKind.PROJECT_SILENT:
        return await _read_silence_facts(session, alert)
    if is_project_id(alert.incident_id):
        return await _read_unclaimed_facts(session, alert, now)
    if is_group_id(alert.incident_id):
        return await _read_group_facts(session, alert, now)
    if is_bulk_id(alert.incident_id) or is_rule_id(alert.incident_id):
        return await _read_repairing_facts(session, alert)
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
    unresolved = select(INCIDENT_GROUPS.c.open_count + INCIDENT_GROUPS.c.repairing_count)
    of_group = unresolved.where(INCIDENT_GROUPS.c.id == found.incident.group_id)
    return AlertFacts(
        incident=found.incident,
        receipt=found.receipt,
        project_name=name or "",
        destinations=destinations,
        cause=None if cause is None else member_or_text(RepairCause, cause),
        failing=_failing(destinations, alert),
        repair_failure=failure,
        has_unresolved_group=bool(await session.scalar(of_group)),
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


async def _read_group_facts(
    session: AsyncSession, alert: AlertDue, now: datetime
) -> GroupAlertFacts:
    group = await read_group(session, None, GroupId(alert.incident_id), now)
    if group is None:
        raise LookupError(
            f"alert {alert.alert_id} refers to {alert.incident_id}, which is not stored"
        )
    name = await session.scalar(select(PROJECTS.c.name).where(PROJECTS.c.id == group.project_id))
    destinations = (await read_destinations(session, [group.project_id]))[group.project_id]
    count = (alert.about or "").rpartition("-")[2]
    return GroupAlertFacts(
        group=group,
        count=int(count) if count.isdecimal() else 0,
        project_name=name or "",
        destinations=destinations,
        failing=_failing(destinations, alert),
    )


async def _read_repairing_facts(session: AsyncSession, alert: AlertDue) -> RepairingFacts:
    subject = await _read_subject(session, alert)
    by_id = select(PROJECTS.c.name, PROJECTS.c.mode).where(PROJECTS.c.id == subject.project_id)
    project = (await session.execute(by_id)).first()
    destinations = (await read_destinations(session, [subject.project_id]))[subject.project_id]
    return RepairingFacts(
        subject=subject,
        livemode=project is not None and project.mode == "live",
        project_name="" if project is None else project.name,
        destinations=destinations,
        failing=_failing(destinations, alert),
    )


async def _read_subject(session: AsyncSession, alert: AlertDue) -> BulkRepair | Rule:
    try:
        if is_bulk_id(alert.incident_id):
            return await read_bulk_repair(session, None, BulkId(alert.incident_id))
    except NotFound:
        pass
    by_id = select(REPAIR_RULES).where(REPAIR_RULES.c.id == alert.incident_id)
    row = (await session.execute(by_id)).first()
    if row is None:
        message = f"alert {alert.alert_id} refers to {alert.incident_id}, which is not stored"
        raise LookupError(message)
    return rule_from(row)


async def _read_silence_facts(session: AsyncSession, alert: AlertDue) -> SilenceFacts:
    project_id, about = ProjectId(alert.incident_id), alert.about or ""
    by_id = select(PROJECTS.c.name).where(PROJECTS.c.id == project_id)
    if (name := await session.scalar(by_id)) is None:
        raise LookupError(f"alert {alert.alert_id} refers to {project_id}, which is not stored")
    destinations = (await read_destinations(session, [project_id]))[project_id]
    return await read_silence_facts(
        session, project_id, about, name=name, destinations=destinations
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
