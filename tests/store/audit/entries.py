"""Writes entries of the audit log, and reads their actions."""

from datetime import timedelta

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import ProjectId
from store.audit.log import AuditFilters, list_audit, record
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.support.given import START

NADIA = Actor("usr_nadia", address="192.0.2.7", request_id="req_1")
SHOP, OTHER = ProjectId("prj_shop"), ProjectId("prj_other")


async def written(database: Database, sealer: Sealer, *actors: Actor) -> None:
    """An entry of each actor, a minute apart; every second one is the other project's."""
    for number, actor in enumerate(actors):
        async with database.transaction() as session:
            action = (AuditAction.PROJECT_CHANGED, AuditAction.KEY_REVOKED)[number % 2]
            await record(
                session,
                sealer,
                actor,
                action,
                now=START + timedelta(minutes=number),
                subject=Subject(SubjectType.KEY, f"key_{number}"),
                project_id=(SHOP, OTHER)[number % 2],
                details={"fields": ["name"]},
            )


async def actions(database: Database) -> list[str]:
    async with database.reading() as session:
        page = await list_audit(session, AuditFilters(project_id=None), limit=100, cursor=None)
    return [entry.action for entry in reversed(page.rows)]
