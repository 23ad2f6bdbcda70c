"""The operations on alert destinations: list, add, change, remove, test.

A URL or a key goes in and never comes out: no answer, audit entry or error has it. The signing
secret of a webhook comes out once, when it is added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import (
    AlertAnswer,
    AlertChannel,
    AlertDestination,
    AlertTrial,
    WebhookTarget,
    kinds_of,
)
from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, ValidationFailed
from domain.ids import DestinationId, ProjectId
from domain.projects import UNSET, Untouched
from operations.alerts.inputs import (
    DestinationPatch,
    NewDestinationBody,
    changed_target,
    given_fields,
    target_of,
)
from operations.alerts.trial_limit import TrialLimit
from operations.audit_writer import AuditWriter
from operations.inputs import JudgeRepairUrl, judged_url
from operations.resolve_limit import ResolveLimit
from operations.validation import Json, known_id, validated
from store.alerts import destinations, health
from store.alerts.destinations import DestinationChanges
from store.alerts.health import Place
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.tokens import new_signing_secret
from store.db.database import Database
from store.projects import projects

UNREADABLE = "The stored target cannot be decrypted: save it again."
_URL_KINDS = frozenset({AlertChannel.SLACK, AlertChannel.TEAMS, AlertChannel.WEBHOOK})


class SendTrial(Protocol):
    """Sends a test alert now. A failure is an answer, never raised."""

    async def __call__(self, trial: AlertTrial, /) -> AlertAnswer: ...


@dataclass(frozen=True, slots=True)
class AddedDestination:
    """A new destination. `secret` signs what is sent to a webhook, and is shown only here."""

    destination: AlertDestination
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TriedDestination:
    """A destination after its test, and what the other side said."""

    destination: AlertDestination
    answer: AlertAnswer


class DestinationOperations:
    """Alert destinations of an opened store."""

    def __init__(
        self,
        database: Database,
        audit: AuditWriter,
        *,
        sealer: Sealer,
        judge_url: JudgeRepairUrl,
        send_trial: SendTrial | None,
    ) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer
        self._judge, self._send_trial = judge_url, send_trial
        self._resolve_limit, self._trial_limit = ResolveLimit(), TrialLimit()

    async def list_destinations(self, project_id: str) -> tuple[AlertDestination, ...]:
        """The project's destinations, by kind, in their order. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading(project) as session:
            return (await projects.read_project(session, project)).alert_destinations

    async def add_destination(
        self, project_id: str, content: Json, *, actor: Actor
    ) -> AddedDestination:
        """Add a destination; `content` is the body of REST's POST.

        Raises: NotFound, RateLimited, ValidationFailed.
        """
        body, project = validated(NewDestinationBody, content), ProjectId(known_id(project_id))
        async with self._database.reading(project) as session:
            await projects.read_project(session, project)
        target = target_of(body, body.kind, is_required=True) or ""
        target = await self._judged(project, body.kind, target)
        secret = new_signing_secret() if body.kind is AlertChannel.WEBHOOK else None
        async with self._database.transaction(project) as session:
            added = await self._add(session, project, body, target, secret)
            details = {"kind": body.kind.value, **({} if secret is None else {"shown": ["secret"]})}
            action = AuditAction.DESTINATION_ADDED
            await self._record(session, actor, action, project, added.id, details)
        return AddedDestination(added, secret)

    async def change_destination(
        self, project_id: str, destination_id: str, changes: Json, *, actor: Actor
    ) -> AlertDestination:
        """Change the destination; `changes` is the body of REST's PATCH.

        Raises: NotFound, RateLimited, ValidationFailed.
        """
        patch, project = validated(DestinationPatch, changes), ProjectId(known_id(project_id))
        before = await self._read(project, destination_id)
        target = changed_target(patch, before)
        if target is not None:
            target = await self._judged(project, before.channel, target)
        async with self._database.transaction(project) as session:
            wanted = await self._changes(session, project, patch, before, target)
            changed = await destinations.change_destination(
                session,
                self._sealer,
                project_id=project,
                destination_id=before.id,
                changes=wanted,
                now=await self._database.now(session),
            )
            details = {"fields": given_fields(wanted)}
            action = AuditAction.DESTINATION_CHANGED
            await self._record(session, actor, action, project, changed.id, details)
        return changed

    async def remove_destination(
        self, project_id: str, destination_id: str, *, actor: Actor
    ) -> AlertDestination:
        """Remove the destination. Its unsent alerts end when they are due. Raises: NotFound."""
        project, removed = ProjectId(known_id(project_id)), DestinationId(known_id(destination_id))
        async with self._database.transaction(project) as session:
            before = await destinations.read_destination(session, project, removed)
            await destinations.remove_destination(session, project, removed)
            action, details = AuditAction.DESTINATION_REMOVED, {"kind": before.channel}
            await self._record(session, actor, action, project, removed, details)
        return before

    async def test_destination(
        self, project_id: str, destination_id: str, *, actor: Actor
    ) -> TriedDestination:
        """Send a test alert to the destination now, also if it is disabled.

        Raises: NotFound; RateLimited at the limit of test alerts.
        """
        project_id = ProjectId(known_id(project_id))
        async with self._database.reading(project_id) as session:
            project = await projects.read_project(session, project_id)
            wanted = DestinationId(known_id(destination_id))
            before = await destinations.read_destination(session, project_id, wanted)
            target = await self._target(session, project_id, before)
            at = await self._database.now(session)
        trial = None
        if target is not None:
            trial = AlertTrial(
                before.id, before.channel, target, project_id, project.name, project.livemode, at
            )
        # It is sent while no transaction is open.
        with self._trial_limit.trial(project_id):
            answer = await self._send(trial)
        async with self._database.transaction(project_id) as session:
            place = Place(project_id, before.channel, before.name)
            now = await self._database.now(session)
            if answer.ok:
                await health.note_accepted(session, place, now)
            else:
                await health.note_failed(session, place, now, error=answer.error)
            tested = await destinations.read_destination(session, project_id, before.id)
            action, details = AuditAction.DESTINATION_TESTED, {"ok": answer.ok}
            await self._record(session, actor, action, project_id, before.id, details)
        return TriedDestination(tested, answer)

    async def _read(self, project_id: ProjectId, destination_id: str) -> AlertDestination:
        async with self._database.reading(project_id) as session:
            known = DestinationId(known_id(destination_id))
            return await destinations.read_destination(session, project_id, known)

    async def _judged(self, project_id: ProjectId, kind: str, target: str) -> str:
        """The target in its stored form. No transaction is open while a name is resolved.

        Raises: RateLimited, ValidationFailed.
        """
        if kind not in _URL_KINDS:
            return target
        with self._resolve_limit.lookup(project_id):
            return await judged_url(target, livemode=True, judge=self._judge, pointer="/url")

    async def _add(
        self,
        session: AsyncSession,
        project_id: ProjectId,
        body: NewDestinationBody,
        target: str,
        secret: str | None,
    ) -> AlertDestination:
        events = kinds_of(body.events)
        if body.kind is AlertChannel.EMAIL:
            added = await destinations.add_email_destination(
                session, project_id=project_id, address=target, label=body.label, events=events
            )
        else:
            sealed = target if secret is None else WebhookTarget(target, secret).to_text()
            added = await destinations.add_secret_destination(
                session,
                self._sealer,
                project_id=project_id,
                channel=body.kind,
                target=sealed,
                label=body.label,
                events=events,
            )
        return await destinations.read_destination(session, project_id, added)

    async def _changes(
        self,
        session: AsyncSession,
        project_id: ProjectId,
        patch: DestinationPatch,
        before: AlertDestination,
        target: str | None,
    ) -> DestinationChanges:
        given = patch.model_fields_set
        sealed: str | Untouched = UNSET if target is None else target
        if target is not None and before.channel == AlertChannel.WEBHOOK:
            sealed = await self._webhook_target(session, project_id, before.id, target)
        return DestinationChanges(
            label=patch.label if "label" in given else UNSET,
            events=kinds_of(patch.events) if "events" in given else UNSET,
            is_disabled=patch.disabled if "disabled" in given else UNSET,
            target=sealed,
        )

    async def _webhook_target(
        self, session: AsyncSession, project_id: ProjectId, destination_id: DestinationId, url: str
    ) -> str:
        """The target of a webhook with another URL, which keeps its secret.

        Raises: NotFound; ValidationFailed: the stored one cannot be decrypted.
        """
        try:
            stored = await destinations.open_target(
                session, self._sealer, project_id, destination_id
            )
            secret = WebhookTarget.from_text(stored or "").secret
        except (SealBroken, ValueError):
            message = "The stored secret cannot be decrypted: add another destination."
            raise ValidationFailed(errors=(FieldError("/url", "not_allowed", message),)) from None
        return WebhookTarget(url, secret).to_text()

    async def _target(
        self, session: AsyncSession, project_id: ProjectId, destination: AlertDestination
    ) -> str | None:
        """What the channel sends to; None if it cannot be decrypted."""
        if destination.target is not None:
            return destination.target
        try:
            return await destinations.open_target(session, self._sealer, project_id, destination.id)
        except SealBroken:
            return None

    async def _send(self, trial: AlertTrial | None) -> AlertAnswer:
        if trial is None:
            return AlertAnswer(False, None, 0, UNREADABLE, error="SealBroken")
        if self._send_trial is None:
            return AlertAnswer(False, None, 0, "This process sends no alerts.", error="no sender")
        return await self._send_trial(trial)

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        project_id: ProjectId,
        destination_id: DestinationId,
        details: Mapping[str, object],
    ) -> None:
        subject = Subject(SubjectType.DESTINATION, destination_id)
        await self._audit.record(
            session, actor, action, subject, project_id=project_id, details=details
        )
