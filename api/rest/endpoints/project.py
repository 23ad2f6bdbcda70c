"""REST: the project of the key, and its settings."""

from fastapi import Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, json_body
from api.rest.routing import route
from domain.errors import Code
from operations.inputs import ProjectPatch
from operations.responses.callbacks import RepairUrlTest
from operations.responses.projects import ChangedProject, Project


@route("GET", "/project", "Read the project")
async def read_project(caller: Admin, operations: OperationsParameter) -> Project:
    """The project of this key. Scope `admin`."""
    return Project.of(await operations.projects.read_project(caller.project.id))


@route("PATCH", "/project", "Change the project", body=ProjectPatch)
async def change_project(
    caller: Admin, operations: OperationsParameter, request: Request
) -> ChangedProject:
    """Change settings of the project. Omitted settings keep their value.

    Saving a repair URL resolves its name. `warnings` names types that sources still expect and the
    project does not accept. Scope `admin`.
    """
    changes = await json_body(request)
    actor = actor_of(request, caller.key.id)
    project = await operations.projects.change_project(caller.project.id, changes, actor=actor)
    return ChangedProject.of(project, await operations.sources.read_warnings(project))


@route("POST", "/project/test-repair", "Test the repair URL", Code.REPAIR_URL_MISSING)
async def test_repair_url(
    caller: Admin, operations: OperationsParameter, request: Request
) -> RepairUrlTest:
    """Call the repair URL once, signed, and answer what the endpoint said. Scope `admin`.

    The body is that of a repair with `test` true, and the header `X-SendPromptly-Test` says it too.
    No event, incident or repair has its ids. A project makes at most six test calls a minute.
    """
    actor = actor_of(request, caller.key.id)
    return RepairUrlTest.of(
        await operations.repair_trials.test_repair_url(caller.project.id, actor=actor)
    )


ROUTES = (read_project, change_project, test_repair_url)
