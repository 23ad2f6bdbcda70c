"""The operations on rules of automatic repair: read, replace, arm again."""

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import FieldError, ValidationFailed
from domain.ids import ProjectId
from domain.projects import Project
from domain.repairing.rules import Rule, RuleSpec
from operations.audit_writer import AuditWriter
from operations.names import known_effect_types, knows_event_type
from operations.repairing.inputs import RulesBody
from operations.validation import Json, check_texts, known_id, validated
from store.db.database import Database
from store.projects.projects import read_project
from store.repairing import rules


class RuleOperations:
    """Rules of automatic repair of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def read_rules(self, project_id: str) -> list[Rule]:
        """The project's rules, in their order. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.reading(project) as session:
            await read_project(session, project)
            return await rules.read_rules(session, project)

    async def replace_rules(self, project_id: str, content: Json, *, actor: Actor) -> list[Rule]:
        """Make these the project's rules; `content` is the body of REST's PUT.

        A rule whose name stays keeps its failures, and stays disarmed. Raises: NotFound,
            ValidationFailed.
        """
        body, project_id = validated(RulesBody, content), known_id(project_id)
        specs = [RuleSpec(**rule.model_dump()) for rule in body.rules]
        async with self._database.transaction(project_id) as session:
            project = await read_project(session, ProjectId(project_id))
            _check(specs, project)
            replaced = await rules.replace_rules(session, project.id, specs)
            details = {"rules": [spec.name for spec in specs]}
            await self._audit.record(
                session,
                actor,
                AuditAction.REPAIR_RULES_CHANGED,
                Subject(SubjectType.PROJECT, project.id),
                project_id=project.id,
                details=details,
            )
        return replaced

    async def arm_rule(self, project_id: str, name: str, *, actor: Actor) -> Rule:
        """Arm a disarmed rule again. Raises: NotFound."""
        project = ProjectId(known_id(project_id))
        async with self._database.transaction(project) as session:
            armed = await rules.arm_rule(session, project, known_id(name))
            await self._audit.record(
                session,
                actor,
                AuditAction.REPAIR_RULE_ARMED,
                Subject(SubjectType.PROJECT, project),
                project_id=project,
                details={"rule": armed.spec.name},
            )
        return armed


def _check(specs: list[RuleSpec], project: Project) -> None:
    """Refuse a name that appears twice, and types that the project does not know.

    Raises: ValidationFailed.
    """
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, spec in enumerate(specs):
        at = f"/rules/{position}"
        check_texts(error_code=spec.error_code)
        if spec.name in seen:
            errors.append(FieldError(f"{at}/name", "duplicate_name", "Each name must be unique."))
        seen.add(spec.name)
        if spec.effect_type is not None and spec.effect_type not in known_effect_types([project]):
            message = "Must be an effect type of this project."
            errors.append(FieldError(f"{at}/effect_type", "unknown_value", message))
        if spec.event_type is not None and not knows_event_type([project], spec.event_type):
            message = "Must be an event type of this project."
            errors.append(FieldError(f"{at}/event_type", "unknown_value", message))
    if errors:
        raise ValidationFailed(errors=tuple(errors))
