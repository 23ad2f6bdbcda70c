"""Reads the contents of an alert beside ids, one alert at a time.

So an unreadable one does not affect the others.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import RepairCause
from store.alerts.delivery import AlertDue, AlertFacts, destination_digest
from store.alerts.destinations import read_destinations
from store.receipts.queries import read_incident
from store.schema.tables import PROJECTS, REPAIRS


async def read_facts(session: AsyncSession, alert: AlertDue) -> AlertFacts:
    """The facts of an alert.

    Raises:
        LookupError: its incident is not stored.
        ValueError: a row holds what this version does not know.
    """
    found = await read_incident(session, None, alert.incident_id)
    if found is None:
        raise LookupError(
            f"alert {alert.alert_id} refers to {alert.incident_id}, which is not stored"
        )
    project_id = found.incident.project_id
    name = await session.scalar(select(PROJECTS.c.name).where(PROJECTS.c.id == project_id))
    destinations = (await read_destinations(session, [project_id]))[project_id]
    cause = None
    if alert.replay_id is not None:
        cause = await session.scalar(
            select(REPAIRS.c.cause).where(REPAIRS.c.replay_id == alert.replay_id)
        )
    return AlertFacts(
        incident=found.incident,
        receipt=found.receipt,
        project_name=name or "",
        destinations=destinations,
        cause=None if cause is None else RepairCause(cause),
        failing=next(
            (one.name for one in destinations if destination_digest(one.name) == alert.about), None
        ),
    )
