"""REST: the rules of automatic repair of the key's project."""

from fastapi import Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, Operator, json_body
from api.rest.routing import route
from domain.errors import Code
from operations.repairing.inputs import RulesBody
from operations.responses.repairing import RepairRule, RepairRules


@route("GET", "/project/repair-rules", "Read the repair rules")
async def read_repair_rules(caller: Admin, operations: OperationsParameter) -> RepairRules:
    """The rules of automatic repair, in their order. Scope `admin`."""
    return RepairRules.of(await operations.repair_rules.read_rules(caller.project.id))


@route("PUT", "/project/repair-rules", "Replace the repair rules", body=RulesBody)
async def replace_repair_rules(
    caller: Admin, operations: OperationsParameter, request: Request
) -> RepairRules:
    """Replace the whole list. The first rule that matches an incident acts.

    A rule whose name stays keeps its failures, and stays disarmed. Scope `admin`.
    """
    content = await json_body(request)
    actor = actor_of(request, caller.key.id)
    replaced = await operations.repair_rules.replace_rules(caller.project.id, content, actor=actor)
    return RepairRules.of(replaced)


@route("POST", "/project/repair-rules/{name}/arm", "Arm a repair rule", Code.NOT_FOUND)
async def arm_repair_rule(
    caller: Operator, operations: OperationsParameter, name: str, request: Request
) -> RepairRule:
    """Arm a rule again that disarmed itself after failures. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    armed = await operations.repair_rules.arm_rule(caller.project.id, name, actor=actor)
    return RepairRule.of(armed)


ROUTES = (read_repair_rules, replace_repair_rules, arm_repair_rule)
