"""The operations on API keys: list, create, revoke. A key's text is returned once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import KeyId, ProjectId
from domain.projects import Key
from domain.values.timestamps import to_iso_or_none
from operations.audit_writer import AuditWriter
from operations.inputs import NewKey
from operations.validation import known_id, validated
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects import api_keys, projects


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `api_key` is its text, which is returned only here."""

    key: Key
    api_key: str


class ApiKeyOperations:
    """API keys of an opened store; `on_change` is called after a key was revoked."""

    def __init__(
        self,
        database: Database,
        audit: AuditWriter,
        *,
        sealer: Sealer,
        on_change: Callable[[ProjectId], None],
    ) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer
        self._on_change = on_change

    async def list_keys(self, project_id: str) -> list[Key]:
        """The project's keys, including revoked ones. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading() as session:
            await projects.read_project(session, project)
            return await api_keys.list_keys(session, project)

    async def create_key(
        self,
        project_id: str,
        *,
        label: str,
        actor: Actor,
        scopes: Sequence[str] = ("ingest",),
        expires_in_days: int | str | None = None,
    ) -> CreatedKey:
        """Create a key, whose text is returned only here.

        `expires_in_days` None means that the key does not expire. Text, as a form sends it, is
        parsed.

        Raises: NotFound, ValidationFailed.
        """
        values = {"label": label, "scopes": list(scopes), "expires_in_days": expires_in_days}
        new, project = validated(NewKey, values), ProjectId(known_id(project_id))
        async with self._database.transaction() as session:
            await projects.read_project(session, project)
            now, days = await self._database.now(session), new.expires_in_days
            key, api_key = await api_keys.create_key(
                session,
                self._sealer,
                project_id=project,
                label=new.label,
                scopes=frozenset(new.scopes),
                expires_at=None if days is None else now + timedelta(days=days),
                now=now,
            )
            details = {
                "scopes": sorted(new.scopes),
                "expires_at": to_iso_or_none(key.expires_at),
                "shown": ["api_key"],
            }
            action, subject = AuditAction.KEY_CREATED, Subject(SubjectType.KEY, key.id)
            await self._audit.record(
                session, actor, action, subject, project_id=project_id, details=details
            )
        return CreatedKey(key, api_key)

    async def revoke_key(self, project_id: str, key_id: str, *, actor: Actor) -> Key:
        """Revoke the key. Other processes refuse it within 5 s. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            revoked = await api_keys.revoke_key(
                session, ProjectId(known_id(project_id)), KeyId(known_id(key_id)), now=now
            )
            action, subject = AuditAction.KEY_REVOKED, Subject(SubjectType.KEY, revoked.id)
            await self._audit.record(session, actor, action, subject, project_id=project_id)
        self._on_change(revoked.project_id)
        return revoked
