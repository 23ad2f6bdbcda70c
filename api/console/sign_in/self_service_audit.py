"""Writes audit entries for actions of users on their own accounts.

Called last in the transaction of the action.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from api.auth.audit_actor import actor_of
from api.console.composition import ConsoleDependencies
from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import UserId
from store.audit import log as audit
from store.people import second_factor as factors
from store.people.second_factor import Accepted


class SelfServiceAudit:
    """Audit entries of self-service actions. Created once per process."""

    def __init__(self, parts: ConsoleDependencies) -> None:
        self._parts = parts

    async def record(
        self,
        session: AsyncSession,
        request: Request,
        action: AuditAction,
        user_id: UserId,
        *,
        now: datetime,
        **details: object,
    ) -> None:
        """Record an action of the user of this request."""
        await self._record(session, actor_of(request, user_id), action, user_id, now, details)

    async def record_of_visitor(
        self,
        session: AsyncSession,
        request: Request,
        action: AuditAction,
        user_id: UserId,
        *,
        now: datetime,
        **details: object,
    ) -> None:
        """Record what somebody did who is not proved to be the user."""
        await self._record(session, actor_of(request), action, user_id, now, details)

    async def record_code(
        self,
        session: AsyncSession,
        request: Request,
        accepted: Accepted,
        user_id: UserId,
        *,
        now: datetime,
    ) -> None:
        """Record the use of a recovery code.

        Codes of an app are recorded only by the action they allow.
        """
        if accepted is Accepted.RECOVERY_CODE:
            left = await factors.count_recovery_codes(session, user_id)
            await self.record(
                session, request, AuditAction.RECOVERY_CODE_USED, user_id, now=now, left=left
            )

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        user_id: UserId,
        now: datetime,
        details: Mapping[str, object],
    ) -> None:
        subject = Subject(SubjectType.USER, user_id)
        await audit.record(
            session, self._parts.sealer, actor, action, now=now, subject=subject, details=details
        )
