"""Lets rules of automatic repair judge the incidents that are due, project by project.

A turn takes a bounded number of incidents of each project, so a flood of one delays no other. It
also counts the outcomes of the rules' repairs. Every worker runs it; each incident is repaired
once. Needs only the store. Run by `worker.build`.
"""

import asyncio

import structlog

from domain.errors import Unavailable
from domain.ids import ProjectId, RuleId
from store.db.database import Database
from store.repairing.rule_turns import (
    DueTurn,
    due_turns,
    projects_with_turns,
    rules_with_open_repairs,
    settle_rule,
    take_turn,
)
from worker.loops.backoffs import Backoffs

PROJECTS_AT_ONCE = 50
# Of one project: incidents that are backed off do not hide the others.
READ_AT_ONCE = 100
JUDGED_AT_ONCE = 10
RULES_AT_ONCE = 50
# Between transactions: on SQLite ingest waits while one writes.
PAUSE_SECONDS = 0.005

log = structlog.get_logger(__name__)


class RuleRepairs:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after_project: ProjectId | None = None
        self._after_rule: RuleId | None = None
        self._backoffs = Backoffs(first_seconds=5)

    async def rule_loop(self, *, every_seconds: float) -> None:
        """Take turns for ever, without a pause while there is more to judge."""
        while True:
            has_more = False
            try:
                has_more = await self.turn()
            except Unavailable:
                log.warning("rules_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("rules_failed")
            await asyncio.sleep(PAUSE_SECONDS if has_more else every_seconds)

    async def turn(self) -> bool:
        """Count outcomes, then judge the next incidents of each project. Returns whether there is
        more.
        """
        await self._settle()
        async with self._database.reading() as session:
            projects = await projects_with_turns(
                session, after=self._after_project, limit=PROJECTS_AT_ONCE
            )
        self._after_project = projects[-1] if len(projects) == PROJECTS_AT_ONCE else None
        left = [await self._judge_some(project_id) for project_id in projects]
        self._backoffs.forget_old()
        return any(left) or self._after_project is not None

    async def _settle(self) -> None:
        async with self._database.reading() as session:
            rules = await rules_with_open_repairs(
                session, after=self._after_rule, limit=RULES_AT_ONCE
            )
        self._after_rule = rules[-1] if len(rules) == RULES_AT_ONCE else None
        for rule_id in rules:
            if not self._backoffs.is_ready(rule_id):
                continue
            try:
                async with self._database.transaction() as session:
                    await settle_rule(session, rule_id, await self._database.now(session))
            except Unavailable:
                raise
            except Exception:
                # The edge of one rule: it must not stop the others.
                self._backoffs.back_off(rule_id)
                log.exception("rule_not_settled", rule_id=rule_id)
            else:
                self._backoffs.forget(rule_id)

    async def _judge_some(self, project_id: ProjectId) -> bool:
        """Judge the next incidents of one project. Returns whether it has more that are ready."""
        if not self._backoffs.is_ready(project_id):
            return False
        try:
            async with self._database.reading() as session:
                now = await self._database.now(session)
                due = await due_turns(session, project_id, now, limit=READ_AT_ONCE)
        except Unavailable:
            raise
        except Exception:
            self._backoffs.back_off(project_id)
            log.exception("rules_of_project_broken", project_id=project_id)
            return False
        ready = [turn for turn in due if self._backoffs.is_ready(turn.incident_id)]
        for turn in ready[:JUDGED_AT_ONCE]:
            await self._judge(turn, project_id)
        return len(ready) > JUDGED_AT_ONCE

    async def _judge(self, turn: DueTurn, project_id: ProjectId) -> None:
        try:
            async with self._database.transaction() as session:
                await take_turn(session, turn, await self._database.now(session))
        except Exception as error:
            # The edge of one incident: a locked or broken one does not stop the others.
            self._backoffs.back_off(turn.incident_id)
            log.warning(
                "incident_not_judged",
                incident_id=turn.incident_id,
                project_id=project_id,
                error=type(error).__name__,
            )
        else:
            self._backoffs.forget(turn.incident_id)
        await asyncio.sleep(PAUSE_SECONDS)
