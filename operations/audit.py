"""The operations on the audit log: list a page, export all entries, verify the hash chain.

REST, the console and an owner's export omit an entry's number and the hash of the entry before it.
Both would show a tenant how much other tenants do.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime

from domain.audit import Actor, AuditAction, AuditEntry, Subject, SubjectType
from operations.audit_writer import AuditWriter
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, page_view, project_or_none
from operations.serializers import audit_view
from operations.validation import Json, check_texts
from store.audit import log
from store.audit.verify import AuditVerdict, verify_audit
from store.crypto.encryption import Sealer
from store.db.database import Database


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """The filters of the log; None means no filter."""

    actor: str | None = None
    action: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class AuditOperations:
    """The audit log of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter, *, sealer: Sealer) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer

    async def list_audit(
        self,
        project_id: str | None,
        filters: AuditFilters,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Json:
        """A page of entries, newest first. Raises: ValidationFailed for a bad filter or cursor."""
        async with self._database.searching(project_id or ALL_PROJECTS) as session:
            narrowed = _store_filters(project_id, filters)
            page = await log.list_audit(session, narrowed, limit=limit, cursor=cursor)
        return page_view([audit_view(entry) for entry in page.rows], page.next_cursor)

    async def export_audit(
        self,
        project_id: str | None,
        filters: AuditFilters,
        *,
        actor: Actor,
        with_chain: bool = True,
    ) -> AsyncIterator[bytes]:
        """The entries as JSON Lines, oldest first. The export itself is recorded before.

        `with_chain` adds each entry's number and the hash of the entry before it.

        Raises: Unavailable; ValidationFailed for an ill-formed filter.
        """
        narrowed = _store_filters(project_id, filters)
        chosen = {"project": project_id, **asdict(filters)}
        names = sorted(name for name, value in chosen.items() if value is not None)
        async with self._database.transaction() as session:
            await self._audit.record(
                session,
                actor,
                AuditAction.AUDIT_EXPORTED,
                Subject(SubjectType.STORE),
                project_id=narrowed.project_id,
                details={"filters": names},
            )
        return self._lines(narrowed, with_chain=with_chain)

    async def verify_audit(self, *, expect: str | None = None) -> AuditVerdict:
        """Check that no entry was changed, removed or inserted; `expect` is a known last hash."""
        return await verify_audit(self._database, self._sealer, expect=expect)

    async def _lines(self, filters: log.AuditFilters, *, with_chain: bool) -> AsyncIterator[bytes]:
        async for entries in log.read_audit(self._database, filters):
            rows = (_chained_view(one) if with_chain else audit_view(one) for one in entries)
            yield "".join(json.dumps(row) + "\n" for row in rows).encode()


def _chained_view(entry: AuditEntry) -> Json:
    return {
        "sequence": entry.sequence,
        **audit_view(entry),
        "previous_hash": entry.previous_hash,
    }


def _store_filters(project_id: str | None, filters: AuditFilters) -> log.AuditFilters:
    check_texts(actor=filters.actor)
    return log.AuditFilters(
        project_id=project_or_none(project_id),
        actor=filters.actor,
        action=filters.action,
        after=filters.created_after,
        before=filters.created_before,
    )
