"""Writes into the audit log what people do about their own accounts. Called last in the act's transaction, by the pages of it."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from api.auth.audit_actor import actor_of
from api.console.composition import ConsoleParts
from domain.audit import AuditAction, Subject, SubjectType
from domain.ids import UserId
from store.audit import log as audit
from store.people import second_factor as factors
from store.people.second_factor import Accepted


class SelfServiceAudit:
    """What is told of people who act for themselves; made once per process."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts

    async def record(
        self, session: AsyncSession, request: Request, action: AuditAction, user_id: UserId, *, now: datetime, **details: object
    ) -> None:
        """The person at the other end of this request did that."""
        actor, subject = actor_of(request, user_id), Subject(SubjectType.USER, user_id)
        await audit.record(session, self._parts.sealer, actor, action, now=now, subject=subject, details=details)

    async def record_code(
        self, session: AsyncSession, request: Request, accepted: Accepted, user_id: UserId, *, now: datetime
    ) -> None:
        """A recovery code is told of wherever it is used up; an app's code only by what it opens."""
        if accepted is Accepted.RECOVERY_CODE:
            left = await factors.count_recovery_codes(session, user_id)
            await self.record(session, request, AuditAction.RECOVERY_CODE_USED, user_id, now=now, left=left)
