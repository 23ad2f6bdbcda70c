"""The rules of automatic repair of a project: replaced, read, armed again.

A rule keeps its id, its failures and whether it is disarmed as long as its name is in the list.
Called by the operations and by `store.repairing.rule_turns`.
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.ids import ProjectId
from domain.repairing.rules import MOST_RULES, Rule, RuleSpec
from store.crypto.tokens import new_rule_id
from store.schema.repairing_mappers import rule_from
from store.schema.tables import PROJECTS, REPAIR_RULES


async def read_rules(
    session: AsyncSession, project_id: ProjectId, *, locked: bool = False
) -> list[Rule]:
    """The project's rules in their order."""
    query = select(REPAIR_RULES).where(REPAIR_RULES.c.project_id == project_id)
    query = query.order_by(REPAIR_RULES.c.position).limit(MOST_RULES)
    rows = await session.execute(query.with_for_update() if locked else query)
    return [rule_from(row) for row in rows]


async def replace_rules(
    session: AsyncSession, project_id: ProjectId, specs: Sequence[RuleSpec]
) -> list[Rule]:
    """Make these the project's rules, in this order. Their names differ."""
    # Two replacements at once would insert the same name.
    locked = select(PROJECTS.c.id).where(PROJECTS.c.id == project_id).with_for_update()
    await session.execute(locked)
    known = {rule.spec.name: rule for rule in await read_rules(session, project_id, locked=True)}
    names = [spec.name for spec in specs]
    gone = (REPAIR_RULES.c.project_id == project_id, REPAIR_RULES.c.name.not_in(names))
    await session.execute(delete(REPAIR_RULES).where(*gone))
    for position, spec in enumerate(specs):
        values = asdict(spec) | {"position": position}
        if (rule := known.get(spec.name)) is None:
            new = {"id": new_rule_id(), "project_id": project_id, "failures": 0}
            await session.execute(insert(REPAIR_RULES).values(**values, **new))
        else:
            changed = update(REPAIR_RULES).where(REPAIR_RULES.c.id == rule.id)
            await session.execute(changed.values(**values))
    return await read_rules(session, project_id)


async def arm_rule(session: AsyncSession, project_id: ProjectId, name: str) -> Rule:
    """Arm the rule again, with no failure counted. Raises: NotFound."""
    is_it = (REPAIR_RULES.c.project_id == project_id, REPAIR_RULES.c.name == name)
    armed = update(REPAIR_RULES).where(*is_it).values(disarmed_at=None, failures=0)
    row = (await session.execute(armed.returning(REPAIR_RULES))).first()
    if row is None:
        raise NotFound("No rule of this project has this name.")
    return rule_from(row)
