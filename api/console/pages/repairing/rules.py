"""The forms of the rules of automatic repair, on the page of their project."""

import json
from typing import Any

from starlette.responses import Response

from api.console.access import PROJECT_OPERATOR, PROJECT_OWNER, RouteSpec
from api.console.base import Console, project_path
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice
from domain.errors import FieldError, Refusal
from domain.repairing.rules import Rule
from operations.responses.repairing import RepairRules


class RuleForms:
    """Replace the rules, and arm one again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.repair_rules

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        rules = "/projects/{project_id}/repair-rules"
        return (
            ("POST", rules, self.save, PROJECT_OWNER),
            ("POST", f"{rules}/{{name}}/arm", self.arm, PROJECT_OPERATOR),
        )

    async def save(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        back = f"{project_path(project_id)}#repair-rules"
        try:
            content = json.loads(fields.get("rules", ""))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            notice = Notice("bad", "The rules must be a JSON object. Nothing was saved.")
            return self._console.sessions.redirect(back, viewer=viewer, notice=notice)
        try:
            await self._operations.replace_rules(project_id, content, actor=actor)
        except Refusal as refusal:
            text = "; ".join(_message(error) for error in refusal.errors) or refusal.detail
            notice = Notice("bad", text[:1_000])
            return self._console.sessions.redirect(back, viewer=viewer, notice=notice)
        notice = Notice("good", "Rules saved. They judge incidents from now on.")
        return self._console.sessions.redirect(back, viewer=viewer, notice=notice)

    async def arm(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, name: str
    ) -> Response:
        action = self._operations.arm_rule(project_id, name, actor=actor)
        success = "Armed. The rule repairs incidents that open from now on."
        return await self._console.perform(
            viewer, action, success=success, back=f"{project_path(project_id)}#repair-rules"
        )


def rules_text(rules: list[Rule]) -> str:
    """The rules as the text that `save` takes."""
    answer: dict[str, Any] = RepairRules.of(rules).to_json()  # Any: JSON values
    for rule in answer["rules"]:
        del rule["failures"], rule["disarmed_at"]
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _message(error: FieldError) -> str:
    return f"{error.pointer.strip('/') or 'rules'}: {error.message}"
