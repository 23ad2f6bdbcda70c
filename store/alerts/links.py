"""The links of alert mails: signed with the project's data key, verified, and used once.

A link that acknowledges is used when its alert's row says so. Links of a removed destination or a
deleted project are not valid any more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import AlertChannel
from domain.ids import DestinationId, IncidentId, ProjectId
from domain.incidents import AlertKind
from domain.security.mail_links import (
    AcknowledgeLink,
    LinkPurpose,
    UnsubscribeLink,
    is_signed,
    link_token,
    read_token,
)
from store.alerts.due import AlertDue, AlertFacts
from store.crypto.encryption import SealBroken, Sealer
from store.schema.tables import ALERT_DESTINATIONS, ALERTS, PROJECTS

# Counted from when the alert became due.
ACKNOWLEDGE_FOR = timedelta(days=3)
_ACKNOWLEDGED = frozenset({AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED})


@dataclass(frozen=True, slots=True)
class MailTokens:
    """The tokens of one mail. `acknowledge` is None if its alert asks for no acknowledgement."""

    unsubscribe: str
    acknowledge: str | None


async def mail_tokens(session: AsyncSession, sealer: Sealer, alert: AlertDue) -> MailTokens | None:
    """The tokens of an alert's mail.

    None without its destination, and if no known root secret opens the project's data key.
    """
    project_id, listed = ProjectId(alert.project_id), alert.listed
    data_key = await _data_key(session, sealer, project_id)
    if listed is None or data_key is None:
        return None
    acknowledge = None
    is_open = isinstance(alert.facts, AlertFacts) and not alert.facts.is_over
    if alert.kind in _ACKNOWLEDGED and is_open and alert.created_at is not None:
        expires_at = alert.created_at + ACKNOWLEDGE_FOR
        link = AcknowledgeLink(
            project_id, alert.incident_id, alert.alert_id, int(expires_at.timestamp())
        )
        acknowledge = link_token(link, data_key=data_key)
    unsubscribe = link_token(UnsubscribeLink(project_id, listed.id), data_key=data_key)
    return MailTokens(unsubscribe, acknowledge)


async def read_unsubscribe_link(
    session: AsyncSession, sealer: Sealer, token: str
) -> UnsubscribeLink | None:
    """The link of a token, or None if it is not valid. Its destination may be gone."""
    signed = read_token(LinkPurpose.UNSUBSCRIBE, token)
    if signed is None or not isinstance(signed.link, UnsubscribeLink):
        return None
    data_key = await _data_key(session, sealer, signed.link.project_id)
    if data_key is None or not is_signed(signed, data_key=data_key):
        return None
    return signed.link


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a valid link acknowledges. `destination_id` is where its mail was sent."""

    link: AcknowledgeLink
    incident_id: IncidentId
    destination_id: DestinationId
    is_used: bool
    is_expired: bool


async def read_acknowledge_link(
    session: AsyncSession, sealer: Sealer, token: str, now: datetime
) -> Acknowledgement | None:
    """What the link of a token acknowledges, or None if it is not valid."""
    signed = read_token(LinkPurpose.ACKNOWLEDGE, token)
    if signed is None or not isinstance(signed.link, AcknowledgeLink):
        return None
    link = signed.link
    data_key = await _data_key(session, sealer, link.project_id)
    if data_key is None or not is_signed(signed, data_key=data_key):
        return None
    destination = func.coalesce(ALERT_DESTINATIONS.c.target, ALERT_DESTINATIONS.c.id)
    of_alert = (
        select(ALERTS.c.link_used_at, ALERT_DESTINATIONS.c.id)
        .join(ALERT_DESTINATIONS, ALERT_DESTINATIONS.c.project_id == ALERTS.c.project_id)
        .where(
            ALERTS.c.id == link.alert_id,
            ALERTS.c.incident_id == link.incident_id,
            ALERTS.c.project_id == link.project_id,
            ALERT_DESTINATIONS.c.channel == AlertChannel.EMAIL.value,
            destination == ALERTS.c.destination,
        )
    )
    row = (await session.execute(of_alert)).first()
    if row is None:
        return None
    return Acknowledgement(
        link=link,
        incident_id=link.incident_id,
        destination_id=DestinationId(row.id),
        is_used=row.link_used_at is not None,
        is_expired=now.timestamp() >= link.expires_at_seconds,
    )


async def use_link(session: AsyncSession, link: AcknowledgeLink, now: datetime) -> bool:
    """Mark the link as used. False if it is used already: of two at once, one gets True."""
    is_it = (ALERTS.c.id == link.alert_id, ALERTS.c.link_used_at.is_(None))
    used = update(ALERTS).where(*is_it).values(link_used_at=now).returning(ALERTS.c.id)
    return (await session.execute(used)).first() is not None


async def _data_key(session: AsyncSession, sealer: Sealer, project_id: ProjectId) -> bytes | None:
    stored = select(PROJECTS.c.data_key).where(
        PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None)
    )
    sealed = await session.scalar(stored)
    if sealed is None:
        return None
    try:
        return sealer.unwrapped(sealed, project_id)
    except SealBroken:
        return None
