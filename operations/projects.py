"""The operations on projects: list, read, create, change, suspend, delete.

A secret is returned once, when it is created.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, ValidationFailed
from domain.ids import ProjectId
from domain.projects import CreatedProject, Mode, Project
from domain.receipts import DEFAULT_TIMEOUT_MINUTES
from domain.values.text import sanitize
from operations.audit_writer import AuditWriter
from operations.inputs import (
    JudgeRepairUrl,
    NewProject,
    ProjectPatch,
    judged_changes,
    judged_url,
)
from operations.resolve_limit import ResolveLimit
from operations.validation import Json, known_id, timeout_errors, validated
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects import deletion, projects

# The names of the secrets that are returned, for the audit log.
_SHOWN = ("api_key", "signing_secret")

_SPELLINGS = {"alert_destinations": "alert_emails"}


@dataclass(frozen=True, slots=True)
class DeletedProject:
    """A deleted project. `receipts_ended` counts the open receipts that the deletion ended."""

    project_id: ProjectId
    name: str
    receipts_ended: int


class ProjectOperations:
    """Projects of an opened store.

    `on_change` is called after a commit that changed a project. The API process drops what it has
    cached of the project.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditWriter,
        *,
        sealer: Sealer,
        judge_repair_url: JudgeRepairUrl,
        on_change: Callable[[ProjectId], None],
    ) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer
        self._judge, self._on_change = judge_repair_url, on_change
        self._resolve_limit = ResolveLimit()

    async def find_project(self, name_or_id: str) -> Project:
        """The project with this id or name. Raises: NotFound."""
        async with self._database.reading() as session:
            return await projects.find_project(session, sanitize(name_or_id))

    async def list_projects(
        self, among: Collection[ProjectId] | None = None, *, with_destinations: bool = True
    ) -> list[Project]:
        """The newest 1,000 projects, oldest first; `among` None means all projects. Without
        `with_destinations` their alert destinations are not read.
        """
        async with self._database.reading() as session:
            return await projects.list_projects(
                session, among=among, with_destinations=with_destinations
            )

    async def read_project(self, project_id: str) -> Project:
        """The project. Raises: NotFound."""
        async with self._database.reading() as session:
            return await projects.read_project(session, ProjectId(known_id(project_id)))

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
    ) -> CreatedProject:
        """Create a project with its first key and signing secret, which are returned only here.

        Raises: ValidationFailed.
        """
        new = validated(
            NewProject,
            {
                "name": name,
                "mode": mode,
                "repair_url": repair_url,
                "alert_emails": list(alert_emails),
                "timeout_minutes": timeout_minutes,
                "scopes": list(scopes),
            },
        )
        repair_url = await self._judged(new)
        async with self._database.transaction() as session:
            created = await projects.create_project(
                session,
                self._sealer,
                name=new.name,
                livemode=new.mode is Mode.LIVE,
                repair_url=repair_url,
                alert_emails=tuple(dict.fromkeys(new.alert_emails)),
                timeout_minutes=new.timeout_minutes,
                scopes=frozenset(new.scopes),
                now=await self._database.now(session),
            )
            details = {
                "mode": new.mode,
                "key_id": created.key.id,
                "scopes": sorted(new.scopes),
                "shown": list(_SHOWN),
            }
            action, project_id = AuditAction.PROJECT_CREATED, created.project.id
            await self._record(session, actor, action, project_id, details)
        return created

    async def change_project(self, project_id: str, changes: Json, *, actor: Actor) -> Project:
        """Change the project; `changes` is the body of REST's PATCH.

        Raises: NotFound, RateLimited, ValidationFailed.
        """
        patch = validated(ProjectPatch, changes)
        async with self._database.reading() as session:
            project = await projects.read_project(session, ProjectId(known_id(project_id)))
        # DNS lookups happen here, while no transaction is open.
        with self._resolve_limit.lookup(project.id):
            judged = await judged_changes(patch, project=project, judge=self._judge)
        async with self._database.transaction() as session:
            before = await projects.read_project(session, project.id)
            changed = await projects.change_project(session, project.id, changes=judged)
            action, details = (
                AuditAction.PROJECT_CHANGED,
                {"fields": _changed_fields(before, changed)},
            )
            await self._record(session, actor, action, project.id, details)
        self._on_change(project.id)
        return changed

    async def set_suspended(self, project_id: str, *, suspended: bool, actor: Actor) -> Project:
        """Suspend or resume the project. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            changed = await projects.set_suspended(
                session, ProjectId(known_id(project_id)), suspended=suspended, now=now
            )
            suspend, resume = AuditAction.PROJECT_SUSPENDED, AuditAction.PROJECT_RESUMED
            await self._record(session, actor, suspend if suspended else resume, changed.id)
        self._on_change(changed.id)
        return changed

    async def delete_project(
        self, project_id: str, *, confirmation: str, actor: Actor, end_open: bool = False
    ) -> DeletedProject:
        """Delete the project permanently; `confirmation` must be its name.

        `end_open` ends the project's open receipts. The result has their number.

        Raises: NotFound; ValidationFailed for another name, or when receipts are open and
            `end_open` is False.
        """
        async with self._database.transaction() as session:
            project = await projects.read_project(session, ProjectId(known_id(project_id)))
            if confirmation != project.name:
                message = "This is not the name of the project. Enter its exact name."
                raise ValidationFailed(errors=(FieldError("/confirmation", "mismatch", message),))
            now = await self._database.now(session)
            ended = await deletion.delete_project(session, project.id, end_open=end_open, now=now)
            action, details = AuditAction.PROJECT_DELETED, {"receipts_ended": ended}
            await self._record(session, actor, action, project.id, details)
        self._on_change(project.id)
        return DeletedProject(project.id, project.name, ended)

    async def _judged(self, new: NewProject) -> str | None:
        """The new project's repair URL in its stored form. Raises: ValidationFailed."""
        errors = timeout_errors(new.timeout_minutes, livemode=new.mode is Mode.LIVE)
        repair_url = new.repair_url
        if repair_url is not None:
            try:
                livemode = new.mode == "live"
                repair_url = await judged_url(repair_url, livemode=livemode, judge=self._judge)
            except ValidationFailed as refusal:
                errors.extend(refusal.errors)
        if errors:
            raise ValidationFailed(errors=tuple(errors))
        return repair_url

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        project_id: ProjectId,
        details: Mapping[str, object] | None = None,
    ) -> None:
        subject = Subject(SubjectType.PROJECT, project_id)
        await self._audit.record(
            session, actor, action, subject, project_id=project_id, details=details
        )


def _changed_fields(before: Project, after: Project) -> list[str]:
    """The names of the settings whose value differs, as REST spells them."""
    names = [_SPELLINGS.get(field.name, field.name) for field in fields(Project)]
    return [name for name in names if getattr(before, name) != getattr(after, name)]
