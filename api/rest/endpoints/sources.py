"""REST: the sources of a project, which watch its payment providers."""

from typing import Annotated

from fastapi import Query, Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, json_body
from api.rest.routing import route
from domain.errors import Code
from operations.responses.sources import (
    ChangedSource,
    FullSource,
    RemovedSource,
    Source,
    SourceCheck,
    SourceList,
    SourceReport,
)
from operations.sources.inputs import NewSourceBody, SourcePatch
from operations.validation import Reference


@route("GET", "/sources", "List sources")
async def list_sources(caller: Admin, operations: OperationsParameter) -> SourceList:
    """All sources of the project, oldest first. Scope `admin`."""
    return SourceList.of(await operations.sources.list_sources(caller.project.id))


@route("POST", "/sources", "Add a source", status=201, body=NewSourceBody)
async def add_source(caller: Admin, operations: OperationsParameter, request: Request) -> Source:
    """Add a source. Events at the provider from now on are expected. Scope `admin`.

    Its secret is stored encrypted, and no response shows it.
    """
    content = await json_body(request)
    actor = actor_of(request, caller.key.id)
    return Source.of(await operations.sources.add_source(caller.project.id, content, actor=actor))


@route("GET", "/sources/{source_id}", "Read a source", Code.NOT_FOUND)
async def read_source(caller: Admin, operations: OperationsParameter, source_id: str) -> FullSource:
    """A source, its health and its gaps. Scope `admin`."""
    return FullSource.of(await operations.sources.read_source(caller.project.id, source_id))


@route("PATCH", "/sources/{source_id}", "Change a source", Code.NOT_FOUND, body=SourcePatch)
async def change_source(
    caller: Admin, operations: OperationsParameter, source_id: str, request: Request
) -> ChangedSource:
    """Change, pause or resume a source. Omitted fields keep their value. Scope `admin`.

    Receipts of a type that is no longer expected stay: `warnings` says what happens to them.
    """
    changes = await json_body(request)
    actor = actor_of(request, caller.key.id)
    changed = await operations.sources.change_source(
        caller.project.id, source_id, changes, actor=actor
    )
    return ChangedSource.of(changed)


@route("DELETE", "/sources/{source_id}", "Remove a source", Code.NOT_FOUND)
async def remove_source(
    caller: Admin, operations: OperationsParameter, source_id: str, request: Request
) -> RemovedSource:
    """Remove a source and its secret. Receipts and incidents that it made stay. Scope `admin`."""
    actor = actor_of(request, caller.key.id)
    removed = await operations.sources.remove_source(caller.project.id, source_id, actor=actor)
    return RemovedSource.of(removed)


@route("POST", "/sources/{source_id}/check", "Check a source", Code.NOT_FOUND)
async def check_source(
    caller: Admin, operations: OperationsParameter, source_id: str, request: Request
) -> SourceCheck:
    """Ask the provider for one event with the source's key, and list now. Scope `admin`.

    A webhook asks nothing: the response has what it received last.
    """
    actor = actor_of(request, caller.key.id)
    return SourceCheck.of(
        await operations.sources.check_source(caller.project.id, source_id, actor=actor)
    )


@route("GET", "/sources/{source_id}/report", "Report of a day", Code.NOT_FOUND)
async def read_source_report(
    caller: Admin,
    operations: OperationsParameter,
    source_id: str,
    day: Annotated[
        Reference | None,
        Query(description="One of the last 40 days (UTC), such as 2026-11-23. Default: today."),
    ] = None,
) -> SourceReport:
    """Events at the provider on a day, and what the app reported of them. Scope `admin`."""
    return SourceReport.of(await operations.sources.report(caller.project.id, source_id, day))


ROUTES = (
    list_sources,
    add_source,
    read_source,
    change_source,
    remove_source,
    check_source,
    read_source_report,
)
