"""REST: the evidence of an event, and the public keys that verify it."""

from fastapi import Request
from starlette.responses import Response

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, Reader
from api.rest.routing import route
from domain.errors import Code
from operations.evidence import attachment
from operations.responses.evidence import Evidence, PublicKeyList


@route(
    "GET",
    "/events/{event_id}/evidence",
    "Read an event's evidence",
    Code.NOT_FOUND,
    answer=Evidence,
)
async def read_evidence(
    caller: Admin, operations: OperationsParameter, event_id: str, request: Request
) -> Response:
    """The whole life of an event as one signed file, with the audit entries about it. Keep the
    bytes as they are: `makegood evidence verify` finds every changed one. Scope `admin`.
    """
    actor = actor_of(request, caller.key.id)
    made = await operations.evidence.make_evidence(caller.project.id, event_id, actor=actor)
    found, file = made
    return Response(file, media_type="application/json", headers=attachment(found))


@route("GET", "/evidence-keys", "List the keys of evidence")
async def list_evidence_keys(caller: Reader, operations: OperationsParameter) -> PublicKeyList:
    """The public keys that signed evidence of this instance, the current one first. Scope
    `read`.
    """
    del caller
    return PublicKeyList.of(await operations.evidence.list_keys())


ROUTES = (read_evidence, list_evidence_keys)
