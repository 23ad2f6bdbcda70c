"""The audit log for operators: a page of it, and all of it for an export; and the one place where operations write it.

The base of `operations.projects`, with the same rules. REST and console show entries without their number in the log and the
hash before, and so does an owner's export: both would tell a tenant what others do.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, AuditEntry, Subject, SubjectType
from domain.ids import ProjectId
from operations.serializers import audit_view
from operations.validation import Json, check_texts, known_id
from store.audit import log as audit
from store.audit.verify import AuditVerdict, verify_audit
from store.crypto.encryption import Sealer
from store.db.database import Database


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What the log is narrowed to; None for no filter."""

    actor: str | None = None
    action: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class AuditOperations:
    """The audit log of an opened store."""

    def __init__(self, *, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def list_audit(self, project_id: str | None, filters: AuditFilters, limit: int = 20, cursor: str | None = None) -> Json:
        """A page of entries, newest first. Raises: ValidationFailed for an ill-formed filter or cursor."""
        async with self._database.searching(project_id or "*") as session:
            page = await audit.list_audit(session, _narrowed(project_id, filters), limit=limit, cursor=cursor)
        rows = [audit_view(entry) for entry in page.rows]
        return {"data": rows, "has_more": page.next_cursor is not None, "next_cursor": page.next_cursor}

    async def export_audit(
        self, project_id: str | None, filters: AuditFilters, *, actor: Actor, with_places: bool = True
    ) -> AsyncIterator[bytes]:
        """The entries as JSON Lines, oldest first, once the export itself is in the log; with their places in it, or without.

        Raises: Unavailable, ValidationFailed for an ill-formed filter.
        """
        narrowed = _narrowed(project_id, filters)
        chosen = {"project": project_id, **asdict(filters)}
        details = {"filters": sorted(name for name, value in chosen.items() if value is not None)}
        async with self._database.transaction() as session:
            subject = Subject(SubjectType.STORE)
            await self._record(
                session, actor, AuditAction.AUDIT_EXPORTED, subject, project_id=narrowed.project_id, details=details
            )
        return self._lines(narrowed, with_places=with_places)

    async def verify_audit(self, *, expect: str | None = None) -> AuditVerdict:
        """Whether the whole log is as it was written."""
        return await verify_audit(self._database, self._sealer, expect=expect)

    async def _lines(self, filters: audit.AuditFilters, *, with_places: bool) -> AsyncIterator[bytes]:
        async for entries in audit.read_audit(self._database, filters):
            told = (_with_place(one) if with_places else audit_view(one) for one in entries)
            yield "".join(json.dumps(line) + "\n" for line in told).encode()

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        subject: Subject,
        *,
        project_id: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Tell of the act in its own transaction, last."""
        await audit.record(
            session,
            self._sealer,
            actor,
            action,
            now=await self._database.now(session),
            subject=subject,
            project_id=None if project_id is None else ProjectId(project_id),
            details=details,
        )


def _with_place(entry: AuditEntry) -> Json:
    return {"sequence": entry.sequence, **audit_view(entry), "previous_hash": entry.previous_hash}


def _narrowed(project_id: str | None, filters: AuditFilters) -> audit.AuditFilters:
    check_texts(actor=filters.actor)
    return audit.AuditFilters(
        project_id=None if project_id is None else ProjectId(known_id(project_id)),
        actor=filters.actor,
        action=filters.action,
        after=filters.created_after,
        before=filters.created_before,
    )
