"""The health of alert destinations: what last became of an alert to each.

A destination is failing when an alert to it never arrived, or when nothing has arrived for a day.
It is tried all the same, and the next alert that arrives ends it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import is_destination_id
from store.schema.tables import ALERT_DESTINATIONS


@dataclass(frozen=True, slots=True)
class Place:
    """A destination as an alert names it: by its target, or by its id if that is a secret."""

    project_id: str
    channel: str
    destination: str

    def conditions(self) -> tuple[Any, ...]:
        """The conditions on `alert_destinations`. Any: SQLAlchemy's conditions."""
        of_project = ALERT_DESTINATIONS.c.project_id == self.project_id
        if is_destination_id(self.destination):
            return of_project, ALERT_DESTINATIONS.c.id == self.destination
        is_channel = ALERT_DESTINATIONS.c.channel == self.channel
        return of_project, is_channel, ALERT_DESTINATIONS.c.target == self.destination


async def note_accepted(session: AsyncSession, place: Place, now: datetime) -> None:
    """Record that the other side accepted an alert: the destination is not failing."""
    await session.execute(
        update(ALERT_DESTINATIONS)
        .where(*place.conditions())
        .values(last_sent_at=now, unreached_since=None, failing_since=None)
    )


async def note_failed(
    session: AsyncSession, place: Place, now: datetime, *, error: str | None
) -> datetime | None:
    """Record a failed attempt; returns since when nothing arrived.

    None if the destination was removed, or is known to be failing already.
    """
    since = ALERT_DESTINATIONS.c.unreached_since
    failed = (
        update(ALERT_DESTINATIONS)
        .where(*place.conditions())
        .values(
            last_error=error,
            last_error_at=now,
            unreached_since=func.coalesce(since, literal(now, since.type)),
        )
        .returning(since, ALERT_DESTINATIONS.c.failing_since)
    )
    row = (await session.execute(failed)).first()
    return None if row is None or row.failing_since is not None else row.unreached_since


async def note_failing(session: AsyncSession, place: Place, now: datetime) -> None:
    """Record that an alert never arrived. A destination that is failing keeps its instant."""
    since = ALERT_DESTINATIONS.c.failing_since
    failing = update(ALERT_DESTINATIONS).where(*place.conditions())
    await session.execute(
        failing.values(failing_since=func.coalesce(since, literal(now, since.type)))
    )
