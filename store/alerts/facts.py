"""Reads the contents of a mail beside ids, one alert at a time, so that an unreadable one does not
affect the others.
"""

import json

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import RepairCause
from store.alerts.delivery import AlertDue, AlertFacts, destination_digest
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
    of_project = select(PROJECTS.c.name, PROJECTS.c.alert_emails).where(
        PROJECTS.c.id == found.incident.project_id
    )
    project = (await session.execute(of_project)).first()
    emails = tuple(json.loads(project.alert_emails)) if project else ()
    cause = None
    if alert.replay_id is not None:
        cause = await session.scalar(
            select(REPAIRS.c.cause).where(REPAIRS.c.replay_id == alert.replay_id)
        )
    return AlertFacts(
        incident=found.incident,
        receipt=found.receipt,
        project_name=project.name if project else "",
        alert_emails=emails,
        cause=None if cause is None else RepairCause(cause),
        failing=next(
            (address for address in emails if destination_digest(address) == alert.about), None
        ),
    )
