"""What operators do to projects, keys and signing secrets; the other half of `operations.incidents`, with the same rules.

Secrets are in an answer once, when they are made.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, ValidationFailed
from domain.ids import KeyId, ProjectId
from domain.projects import Project
from domain.receipts import DEFAULT_TIMEOUT_MINUTES
from domain.values.timestamps import to_iso, to_iso_or_none
from operations.audit import AuditOperations
from operations.inputs import (
    JudgeRepairUrl,
    NewKey,
    NewProject,
    ProjectPatch,
    judged_changes,
    judged_url,
)
from operations.resolve_limit import LookUps
from operations.serializers import created_project_view, key_view, project_view
from operations.validation import Json, known_id, timeout_errors, validated
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects import api_keys as keys
from store.projects import deletion as deleting
from store.projects import projects, signing_secrets

_SHOWN = ("api_key", "signing_secret")


class ProjectOperations(AuditOperations):
    """Projects and their keys, on an opened store."""

    def __init__(
        self,
        *,
        database: Database,
        sealer: Sealer,
        judge_repair_url: JudgeRepairUrl,
    ) -> None:
        super().__init__(database=database, sealer=sealer)
        self._judge = judge_repair_url
        self._look_ups = LookUps()
        self._on_change: list[Callable[[ProjectId], None]] = []

    def call_on_change(self, forget: Callable[[ProjectId], None]) -> None:
        """Have what this process remembers of a project and its keys forgotten when one of them is changed here."""
        self._on_change.append(forget)

    async def list_projects(self, among: Collection[ProjectId] | None = None) -> Json:
        """The newest 1,000 projects, of all or of these, oldest first."""
        async with self._database.reading() as session:
            return {"data": [project_view(project) for project in await projects.list_projects(session, among=among)]}

    async def read_project(self, project_id: str) -> Json:
        """Raises: NotFound."""
        async with self._database.reading() as session:
            return project_view(await projects.read_project(session, ProjectId(known_id(project_id))))

    async def create_project(
        self,
        *,
        name: str,
        mode: str,
        actor: Actor,
        repair_url: str | None = None,
        alert_emails: Sequence[str] = (),
        timeout_minutes: float = DEFAULT_TIMEOUT_MINUTES,
        scopes: Sequence[str] = ("ingest",),
    ) -> Json:
        """A new project with its first key and signing secret, shown this once. Raises: ValidationFailed."""
        wanted = {"name": name, "mode": mode, "repair_url": repair_url, "alert_emails": list(alert_emails)}
        new = validated(NewProject, {**wanted, "timeout_minutes": timeout_minutes, "scopes": list(scopes)})
        errors = timeout_errors(new.timeout_minutes, livemode=new.mode == "live")
        repair_url = new.repair_url
        if repair_url is not None:
            try:
                repair_url = await judged_url(repair_url, judge=self._judge)
            except ValidationFailed as refusal:
                errors.extend(refusal.errors)
        if errors:
            raise ValidationFailed(errors=tuple(errors))
        async with self._database.transaction() as session:
            created = await projects.create_project(
                session,
                self._sealer,
                name=new.name,
                livemode=new.mode == "live",
                repair_url=repair_url,
                alert_emails=tuple(dict.fromkeys(new.alert_emails)),
                timeout_minutes=new.timeout_minutes,
                scopes=frozenset(new.scopes),
                now=await self._database.now(session),
            )
            details = {"mode": new.mode, "key_id": created.key.id, "scopes": sorted(new.scopes), "shown": list(_SHOWN)}
            await self._record_project(session, actor, AuditAction.PROJECT_CREATED, created.project.id, details)
        return created_project_view(created)

    async def change_project(self, project_id: str, changes: Json, *, actor: Actor) -> Json:
        """The project after the changes, which are the body of REST's PATCH. Raises: NotFound, RateLimited, ValidationFailed."""
        patch = validated(ProjectPatch, changes)
        async with self._database.reading() as session:
            project = await projects.read_project(session, ProjectId(known_id(project_id)))
        # Names are resolved here, with no transaction open.
        with self._look_ups.one_of(project.id):
            judged = await judged_changes(patch, project=project, judge=self._judge)
        async with self._database.transaction() as session:
            before = await projects.read_project(session, project.id)
            changed = await projects.change_project(session, project.id, changes=judged)
            fields = _changed_fields(before, changed)
            if fields:
                await self._record_project(session, actor, AuditAction.PROJECT_CHANGED, project.id, {"fields": fields})
        self._forget(project.id)
        return project_view(changed)

    async def set_suspended(self, project_id: str, *, suspended: bool, actor: Actor) -> Json:
        """The project, refused or taken from again. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            changed = await projects.set_suspended(session, ProjectId(known_id(project_id)), suspended=suspended, now=now)
            action = AuditAction.PROJECT_SUSPENDED if suspended else AuditAction.PROJECT_RESUMED
            await self._record_project(session, actor, action, changed.id)
        self._forget(changed.id)
        return project_view(changed)

    async def delete_project(self, project_id: str, *, confirmation: str, actor: Actor, end_open: bool = False) -> Json:
        """Delete the project for good, once its name is given as the confirmation; how many open receipts were ended for it.

        Raises: NotFound; ValidationFailed for another name, or when receipts are open and `end_open` is False.
        """
        async with self._database.transaction() as session:
            project = await projects.read_project(session, ProjectId(known_id(project_id)))
            if confirmation != project.name:
                told = "This is not the name of the project."
                raise ValidationFailed(errors=(FieldError("/confirmation", "mismatch", told),))
            now = await self._database.now(session)
            ended = await deleting.delete_project(session, project.id, end_open=end_open, now=now)
            details = {"receipts_ended": ended}
            await self._record_project(session, actor, AuditAction.PROJECT_DELETED, project.id, details)
        self._forget(project.id)
        return {"project_id": project.id, "name": project.name, "deleted": True, "receipts_ended": ended}

    async def list_keys(self, project_id: str) -> Json:
        """The project's keys, revoked ones too. Raises: NotFound."""
        async with self._database.reading() as session:
            await projects.read_project(session, ProjectId(known_id(project_id)))
            return {"data": [key_view(key) for key in await keys.list_keys(session, ProjectId(known_id(project_id)))]}

    async def create_key(
        self,
        project_id: str,
        *,
        label: str,
        actor: Actor,
        scopes: Sequence[str] = ("ingest",),
        expires_in_days: int | str | None = None,
    ) -> Json:
        """A new key with its text, shown this once; `expires_in_days` None: it does not expire; text, as a form has it, is read.

        Raises: NotFound, ValidationFailed.
        """
        new = validated(NewKey, {"label": label, "scopes": list(scopes), "expires_in_days": expires_in_days})
        async with self._database.transaction() as session:
            await projects.read_project(session, ProjectId(known_id(project_id)))
            now = await self._database.now(session)
            key, api_key = await keys.create_key(
                session,
                self._sealer,
                project_id=ProjectId(known_id(project_id)),
                label=new.label,
                scopes=frozenset(new.scopes),
                expires_at=None if new.expires_in_days is None else now + timedelta(days=new.expires_in_days),
                now=now,
            )
            details = {"scopes": sorted(new.scopes), "expires_at": to_iso_or_none(key.expires_at), "shown": ["api_key"]}
            subject = Subject(SubjectType.KEY, key.id)
            await self._record(session, actor, AuditAction.KEY_CREATED, subject, project_id=project_id, details=details)
        return {**key_view(key), "api_key": api_key}

    async def revoke_key(self, project_id: str, key_id: str, *, actor: Actor) -> Json:
        """The key, refused from now on here, and within 5 s by every other process. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            revoked = await keys.revoke_key(session, ProjectId(known_id(project_id)), KeyId(known_id(key_id)), now=now)
            subject = Subject(SubjectType.KEY, revoked.id)
            await self._record(session, actor, AuditAction.KEY_REVOKED, subject, project_id=project_id)
        self._forget(revoked.project_id)
        return key_view(revoked)

    async def rotate_signing_secret(self, project_id: str, *, actor: Actor) -> Json:
        """The next signing secret, shown this once; callbacks carry both signatures for 24 h, or until `finish_rotation`.

        Raises: NotFound.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            secret = await signing_secrets.rotate_signing_secret(
                session, self._sealer, project_id=ProjectId(known_id(project_id)), now=now
            )
            details = {"shown": ["signing_secret"]}
            await self._record_project(session, actor, AuditAction.SIGNING_SECRET_ROTATED, project_id, details)
        return {"project_id": project_id, "signing_secret": secret, "overlap_ends_at": to_iso(now + signing_secrets.OVERLAP)}

    async def read_rotation(self, project_id: str) -> Json:
        """Until when callbacks carry both signatures; None when no rotation is under way. Raises: NotFound."""
        async with self._database.reading() as session:
            await projects.read_project(session, ProjectId(known_id(project_id)))
            now = await self._database.now(session)
            ends_at = await signing_secrets.overlap_ends_at(session, ProjectId(known_id(project_id)), now)
        return {"project_id": project_id, "overlap_ends_at": to_iso_or_none(ends_at)}

    async def finish_rotation(self, project_id: str, *, actor: Actor) -> Json:
        """The project, signing with the next secret alone. Raises: NotFound."""
        async with self._database.transaction() as session:
            await signing_secrets.finish_rotation(session, project_id=ProjectId(known_id(project_id)))
            project = await projects.read_project(session, ProjectId(known_id(project_id)))
            await self._record_project(session, actor, AuditAction.SIGNING_SECRET_ROTATION_FINISHED, project.id)
        return project_view(project)

    async def _record_project(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        project_id: str,
        details: Mapping[str, object] | None = None,
    ) -> None:
        subject = Subject(SubjectType.PROJECT, project_id)
        await self._record(session, actor, action, subject, project_id=project_id, details=details)

    def _forget(self, project_id: ProjectId) -> None:
        for forget in self._on_change:
            forget(project_id)


def _changed_fields(before: Project, after: Project) -> list[str]:
    """The names of the settings that have another value now."""
    was, is_now = project_view(before), project_view(after)
    return [name for name in is_now if was[name] != is_now[name]]
