"""The operations on the audit log: list a page, export all entries, verify the hash chain.

An entry's number and the hash of the entry before it would show a tenant how much other tenants do.
`operations.responses.audit` omits both, except in an export of an administrator.
"""

from collections.abc import AsyncIterator
from dataclasses import fields, replace

from domain.audit import Actor, AuditAction, AuditEntry, Subject, SubjectType
from operations.audit_writer import AuditWriter
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, project_or_none
from operations.validation import check_texts
from store.audit import log
from store.audit.log import AuditFilters
from store.audit.verify import AuditVerdict, verify_audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.paging import Page


class AuditOperations:
    """The audit log of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter, *, sealer: Sealer) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer

    async def list_audit(
        self, filters: AuditFilters, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """A page of entries, newest first. Raises: ValidationFailed for a bad filter or cursor."""
        async with self._database.searching(filters.project_id or ALL_PROJECTS) as session:
            return await log.list_audit(session, _checked(filters), limit=limit, cursor=cursor)

    async def export_audit(
        self, filters: AuditFilters, *, actor: Actor
    ) -> AsyncIterator[list[AuditEntry]]:
        """The entries in chunks, oldest first. The export itself is recorded before.

        Raises: Unavailable; ValidationFailed for an ill-formed filter.
        """
        checked = _checked(filters)
        async with self._database.transaction() as session:
            await self._audit.record(
                session,
                actor,
                AuditAction.AUDIT_EXPORTED,
                Subject(SubjectType.STORE),
                project_id=checked.project_id,
                details={"filters": _chosen_names(checked)},
            )
        return log.read_audit(self._database, checked)

    async def verify_audit(self, *, expect: str | None = None) -> AuditVerdict:
        """Check that no entry was changed, removed or inserted; `expect` is a known last hash."""
        return await verify_audit(self._database, self._sealer, expect=expect)


def _checked(filters: AuditFilters) -> AuditFilters:
    """The filters with an id that can be looked up. Raises: ValidationFailed for bad text."""
    check_texts(actor=filters.actor)
    return replace(filters, project_id=project_or_none(filters.project_id))


def _chosen_names(filters: AuditFilters) -> list[str]:
    """The names of the filters that are set, for the audit log."""
    chosen = {field.name for field in fields(filters) if getattr(filters, field.name) is not None}
    return sorted("project" if name == "project_id" else name for name in chosen)
