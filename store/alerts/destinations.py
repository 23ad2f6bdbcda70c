"""The alert destinations of projects: read, added, changed, replaced, and decrypted for sending.

The target of a channel such as e-mail is stored as it is. A target that is a secret is sealed with
the project's data key, and leaves this file as text only when an alert is sent to it. Deleting a
project deletes them (`store.projects.deletion`): a change locks the project first, so that it
leaves nothing behind.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import MAXIMUM_DESTINATIONS, AlertChannel, AlertDestination
from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import DestinationId, ProjectId
from domain.projects import UNSET, Untouched
from domain.values.text import sanitize
from store.alerts.due import AlertDue
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_destination_id
from store.schema.mappers import destination_from
from store.schema.tables import ALERT_DESTINATIONS, PROJECTS

_UNKNOWN = "There is no such alert destination."
_ORDER = (ALERT_DESTINATIONS.c.channel, ALERT_DESTINATIONS.c.position)


@dataclass(frozen=True, slots=True)
class DestinationChanges:
    """New values for some of a destination's fields. `target` is a secret target, as it is sealed.

    A new target starts without the failures of the one before.
    """

    label: str | Untouched | None = UNSET
    events: frozenset[str] | Untouched | None = UNSET
    is_disabled: bool | Untouched = UNSET
    target: str | Untouched = field(default=UNSET, repr=False)


async def read_destinations(
    session: AsyncSession, project_ids: Collection[ProjectId]
) -> Mapping[ProjectId, tuple[AlertDestination, ...]]:
    """The destinations of each of the projects, in their order, without secret targets."""
    found: dict[ProjectId, list[AlertDestination]] = {of: [] for of in project_ids}
    listed = select(ALERT_DESTINATIONS).where(ALERT_DESTINATIONS.c.project_id.in_(found))
    for row in await session.execute(listed.order_by(*_ORDER)):
        found[ProjectId(row.project_id)].append(destination_from(row))
    return {project_id: tuple(listed) for project_id, listed in found.items()}


async def read_destination(
    session: AsyncSession, project_id: ProjectId, destination_id: DestinationId
) -> AlertDestination:
    """The project's destination. Raises: NotFound."""
    is_it = _is_it(project_id, destination_id)
    row = (await session.execute(select(ALERT_DESTINATIONS).where(*is_it))).first()
    if row is None:
        raise NotFound(_UNKNOWN)
    return destination_from(row)


async def replace_email_destinations(
    session: AsyncSession, project_id: ProjectId, addresses: Sequence[str]
) -> None:
    """Make these addresses the project's e-mail destinations, in this order.

    An address that stays keeps its row. Raises: NotFound.
    """
    await _lock_project(session, project_id)
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


async def add_email_destination(
    session: AsyncSession,
    *,
    project_id: ProjectId,
    address: str,
    label: str | None = None,
    events: frozenset[str] | None = None,
) -> DestinationId:
    """Add an e-mail address, after the project's others.

    Raises:
        NotFound: no such project.
        ValidationFailed: it has the address, or `MAXIMUM_DESTINATIONS` already.
    """
    await _lock_project(session, project_id)
    of_email = (
        ALERT_DESTINATIONS.c.project_id == project_id,
        ALERT_DESTINATIONS.c.channel == AlertChannel.EMAIL.value,
    )
    is_it = ALERT_DESTINATIONS.c.target == address
    if await session.scalar(select(ALERT_DESTINATIONS.c.id).where(*of_email, is_it)) is not None:
        message = "The project has this address already."
        raise ValidationFailed(errors=(FieldError("/address", "taken", message),))
    destination_id = new_destination_id()
    values = {"id": destination_id, "target": address, **_described(label, events)}
    await _append(session, project_id, AlertChannel.EMAIL, values)
    return destination_id


async def add_secret_destination(
    session: AsyncSession,
    sealer: Sealer,
    *,
    project_id: ProjectId,
    channel: AlertChannel,
    target: str,
    label: str | None = None,
    events: frozenset[str] | None = None,
) -> DestinationId:
    """Add a destination whose target is a secret, after the channel's others.

    Raises:
        NotFound: no such project.
        ValidationFailed: it has `MAXIMUM_DESTINATIONS` of the channel already.
        SealBroken: no known root secret opens the project's data key.
    """
    await _lock_project(session, project_id)
    destination_id = new_destination_id()
    sealed = await _seal(session, sealer, project_id, destination_id, target)
    values = {"id": destination_id, "sealed_target": sealed, **_described(label, events)}
    await _append(session, project_id, channel, values)
    return destination_id


async def change_destination(
    session: AsyncSession,
    sealer: Sealer,
    *,
    project_id: ProjectId,
    destination_id: DestinationId,
    changes: DestinationChanges,
    now: datetime,
) -> AlertDestination:
    """Change a destination. One that is disabled already keeps the time since when it is.

    Raises:
        NotFound: no such destination.
        SealBroken: no known root secret opens the project's data key.
    """
    is_it = _is_it(project_id, destination_id)
    selected = select(ALERT_DESTINATIONS).where(*is_it).with_for_update()
    row = (await session.execute(selected)).first()
    if row is None:
        raise NotFound(_UNKNOWN)
    values: dict[str, object] = {}
    if changes.label is not UNSET:
        values["label"] = _described(changes.label, None)["label"]
    if changes.events is not UNSET:
        values["events"] = _described(None, changes.events)["events"]
    if changes.is_disabled is not UNSET:
        values["disabled_at"] = (row.disabled_at or now) if changes.is_disabled else None
    if changes.target is not UNSET:
        values["sealed_target"] = await _seal(
            session, sealer, project_id, destination_id, changes.target
        )
        values |= dict.fromkeys(("unreached_since", "failing_since", "last_error", "last_error_at"))
    if values:
        await session.execute(update(ALERT_DESTINATIONS).where(*is_it).values(values))
    return await read_destination(session, project_id, destination_id)


async def remove_destination(
    session: AsyncSession, project_id: ProjectId, destination_id: DestinationId
) -> None:
    """Remove a destination of the project. Its unsent alerts end when they are due.

    Raises: NotFound.
    """
    is_it = _is_it(project_id, destination_id)
    removed = delete(ALERT_DESTINATIONS).where(*is_it).returning(ALERT_DESTINATIONS.c.id)
    if (await session.execute(removed)).first() is None:
        raise NotFound(_UNKNOWN)


async def read_secret_target(session: AsyncSession, sealer: Sealer, alert: AlertDue) -> str | None:
    """The target of an alert that names its destination by id; None when that was removed.

    Raises:
        SealBroken: no known root secret opens the target.
    """
    return await open_target(
        session, sealer, ProjectId(alert.project_id), DestinationId(alert.destination)
    )


async def open_target(
    session: AsyncSession, sealer: Sealer, project_id: ProjectId, destination_id: DestinationId
) -> str | None:
    """The secret target of a destination; None if there is no such destination, or no secret.

    Raises:
        SealBroken: no known root secret opens the target.
    """
    is_it = (*_is_it(project_id, destination_id), ALERT_DESTINATIONS.c.sealed_target.is_not(None))
    sealed = await session.scalar(select(ALERT_DESTINATIONS.c.sealed_target).where(*is_it))
    if sealed is None:
        return None
    return sealer.open(
        await _data_key(session, project_id),
        project_id=project_id,
        table="alert_destinations",
        column="sealed_target",
        row=destination_id,
        sealed=sealed,
    ).decode()


def _is_it(project_id: ProjectId, destination_id: DestinationId) -> tuple[ColumnElement[bool], ...]:
    return (
        ALERT_DESTINATIONS.c.id == destination_id,
        ALERT_DESTINATIONS.c.project_id == project_id,
    )


def _described(label: str | None, events: frozenset[str] | None) -> dict[str, str | None]:
    """The columns of a label and a subscription."""
    return {
        "label": None if label is None else sanitize(label),
        "events": None if events is None else " ".join(sorted(events)),
    }


async def _seal(
    session: AsyncSession,
    sealer: Sealer,
    project_id: ProjectId,
    destination_id: DestinationId,
    target: str,
) -> bytes:
    return sealer.seal(
        await _data_key(session, project_id),
        project_id=project_id,
        table="alert_destinations",
        column="sealed_target",
        row=destination_id,
        plaintext=target.encode(),
    )


async def _append(
    session: AsyncSession,
    project_id: ProjectId,
    channel: AlertChannel,
    values: Mapping[str, object],
) -> None:
    """Insert a destination after the channel's others. Raises: ValidationFailed."""
    columns = (func.max(ALERT_DESTINATIONS.c.position), func.count())
    of_channel = select(*columns).where(
        ALERT_DESTINATIONS.c.project_id == project_id, ALERT_DESTINATIONS.c.channel == channel.value
    )
    last, count = (await session.execute(of_channel)).one()
    if count >= MAXIMUM_DESTINATIONS:
        message = f"A project has at most {MAXIMUM_DESTINATIONS} destinations of a kind."
        raise ValidationFailed(errors=(FieldError("/kind", "too_many", message),))
    await _insert(session, project_id, channel, {**values, "position": (last or 0) + 1})


async def _lock_project(session: AsyncSession, project_id: ProjectId) -> None:
    """Lock the project until the transaction ends. Raises: NotFound."""
    is_it = (PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None))
    locked = select(PROJECTS.c.id).where(*is_it).with_for_update()
    if await session.scalar(locked) is None:
        raise NotFound("There is no such project.")


async def _data_key(session: AsyncSession, project_id: str) -> bytes:
    """The project's data key, sealed; empty when there is no such project."""
    stored = select(PROJECTS.c.data_key).where(PROJECTS.c.id == project_id)
    return await session.scalar(stored) or b""


async def _insert(
    session: AsyncSession, project_id: ProjectId, channel: AlertChannel, values: dict[str, object]
) -> None:
    of = {"project_id": project_id, "channel": channel.value}
    await session.execute(insert(ALERT_DESTINATIONS).values(of | values))
