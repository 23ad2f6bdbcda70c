"""Writes an operation's audit log entry, inside the operation's own transaction."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject
from domain.ids import ProjectId
from store.audit import log
from store.crypto.encryption import Sealer
from store.db.database import Database


class AuditWriter:
    """Appends audit entries; every operations class is given one. `sealer` signs the entries."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        subject: Subject,
        *,
        project_id: str | None = None,
        details: Mapping[str, object] | None = None,
        now: datetime | None = None,
    ) -> None:
        """Append one entry. It is the last statement of the transaction.

        `now` None reads the store's clock.
        """
        await log.record(
            session,
            self._sealer,
            actor,
            action,
            now=await self._database.now(session) if now is None else now,
            subject=subject,
            project_id=None if project_id is None else ProjectId(project_id),
            details=details,
        )
