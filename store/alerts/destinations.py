"""The alert destinations of projects: read, replaced, and decrypted for sending.

The target of a channel such as e-mail is stored as it is. A target that is a secret is sealed with
the project's data key, and leaves this file as text only when an alert is sent to it. Deleting a
project deletes them (`store.projects.deletion`).
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import AlertChannel, AlertDestination
from domain.errors import NotFound
from domain.ids import DestinationId, ProjectId
from store.alerts.delivery import AlertDue
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_destination_id
from store.schema.mappers import destination_from
from store.schema.tables import ALERT_DESTINATIONS, PROJECTS

_ORDER = (ALERT_DESTINATIONS.c.channel, ALERT_DESTINATIONS.c.position)


async def read_destinations(
    session: AsyncSession, project_ids: Collection[ProjectId]
) -> Mapping[ProjectId, tuple[AlertDestination, ...]]:
    """The destinations of each of the projects, in their order, without secret targets."""
    found: dict[ProjectId, list[AlertDestination]] = {of: [] for of in project_ids}
    listed = select(ALERT_DESTINATIONS).where(ALERT_DESTINATIONS.c.project_id.in_(found))
    for row in await session.execute(listed.order_by(*_ORDER)):
        found[ProjectId(row.project_id)].append(destination_from(row))
    return {project_id: tuple(listed) for project_id, listed in found.items()}


async def replace_email_destinations(
    session: AsyncSession, project_id: ProjectId, addresses: Sequence[str]
) -> None:
    """Make these addresses the project's e-mail destinations, in this order.

    An address that stays keeps its row. The caller has locked the project.
    """
    wanted = {address: position for position, address in enumerate(dict.fromkeys(addresses))}
    of_email = (
        ALERT_DESTINATIONS.c.project_id == project_id,
        ALERT_DESTINATIONS.c.channel == AlertChannel.EMAIL.value,
        ALERT_DESTINATIONS.c.target.is_not(None),
    )
    await session.execute(
        delete(ALERT_DESTINATIONS).where(*of_email, ALERT_DESTINATIONS.c.target.not_in(wanted))
    )
    stored = set(await session.scalars(select(ALERT_DESTINATIONS.c.target).where(*of_email)))
    for address, position in wanted.items():
        if address in stored:
            is_it = ALERT_DESTINATIONS.c.target == address
            await session.execute(
                update(ALERT_DESTINATIONS).where(*of_email, is_it).values(position=position)
            )
        else:
            values = {"id": new_destination_id(), "position": position, "target": address}
            await _insert(session, project_id, AlertChannel.EMAIL, values)


async def add_secret_destination(
    session: AsyncSession,
    sealer: Sealer,
    *,
    project_id: ProjectId,
    channel: AlertChannel,
    target: str,
) -> DestinationId:
    """Add a destination whose target is a secret, after the channel's others.

    The caller has locked the project.

    Raises:
        SealBroken: no known root secret opens the project's data key.
    """
    destination_id, data_key = new_destination_id(), await _data_key(session, project_id)
    sealed = sealer.seal(
        data_key,
        project_id=project_id,
        table="alert_destinations",
        column="sealed_target",
        row=destination_id,
        plaintext=target.encode(),
    )
    last = select(func.max(ALERT_DESTINATIONS.c.position)).where(
        ALERT_DESTINATIONS.c.project_id == project_id, ALERT_DESTINATIONS.c.channel == channel.value
    )
    position = (await session.scalar(last) or 0) + 1
    values = {"id": destination_id, "position": position, "sealed_target": sealed}
    await _insert(session, project_id, channel, values)
    return destination_id


async def remove_destination(
    session: AsyncSession, project_id: ProjectId, destination_id: DestinationId
) -> None:
    """Remove a destination of the project. Its unsent alerts end when they are due.

    Raises: NotFound.
    """
    is_it = (
        ALERT_DESTINATIONS.c.id == destination_id,
        ALERT_DESTINATIONS.c.project_id == project_id,
    )
    removed = delete(ALERT_DESTINATIONS).where(*is_it).returning(ALERT_DESTINATIONS.c.id)
    if (await session.execute(removed)).first() is None:
        raise NotFound("There is no such alert destination.")


async def read_secret_target(session: AsyncSession, sealer: Sealer, alert: AlertDue) -> str | None:
    """The target of an alert that names its destination by id; None when that was removed.

    Raises:
        SealBroken: no known root secret opens the target.
    """
    is_it = (
        ALERT_DESTINATIONS.c.id == alert.destination,
        ALERT_DESTINATIONS.c.project_id == alert.project_id,
        ALERT_DESTINATIONS.c.sealed_target.is_not(None),
    )
    sealed = await session.scalar(select(ALERT_DESTINATIONS.c.sealed_target).where(*is_it))
    if sealed is None:
        return None
    return sealer.open(
        await _data_key(session, alert.project_id),
        project_id=alert.project_id,
        table="alert_destinations",
        column="sealed_target",
        row=alert.destination,
        sealed=sealed,
    ).decode()


async def _data_key(session: AsyncSession, project_id: str) -> bytes:
    """The project's data key, sealed; empty when there is no such project."""
    stored = select(PROJECTS.c.data_key).where(PROJECTS.c.id == project_id)
    return await session.scalar(stored) or b""


async def _insert(
    session: AsyncSession, project_id: ProjectId, channel: AlertChannel, values: dict[str, object]
) -> None:
    of = {"project_id": project_id, "channel": channel.value}
    await session.execute(insert(ALERT_DESTINATIONS).values(of | values))
