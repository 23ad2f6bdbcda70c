"""The FastAPI dependencies of the console's handlers: the viewer, the form and the actor.

FastAPI evaluates each of them once per request. So one request reads its session once and parses
its form once, for the access rule, the step-up and the handler alike. `provide` puts the console
into the request before any other dependency runs.
"""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from starlette.requests import Request

from api.auth.audit_actor import actor_of
from api.console.base import Console
from api.console.sign_in.sessions import SignInNeeded, Viewer
from domain.audit import Actor

SAFE_METHODS = ("GET", "HEAD")

Fields = Mapping[str, str]


def provide(console: Console) -> Dependency:
    """The first dependency of every route: `console_of` returns this console."""

    async def provide_console(request: Request) -> None:
        request.state.console = console

    return Dependency(provide_console)


def console_of(request: Request) -> Console:
    console: Console = request.state.console
    return console


async def read_viewer(request: Request) -> Viewer:
    """The signed-in user, whom an error page shows too. Raises: SignInNeeded."""
    viewer = await console_of(request).sessions.viewer(request)
    request.state.viewer = viewer
    return viewer


CurrentViewer = Annotated[Viewer, Depends(read_viewer)]


async def find_viewer(request: Request) -> Viewer | None:
    """The signed-in user, for pages that also others may open. None if nobody is signed in."""
    try:
        return await console_of(request).sessions.viewer(request)
    except SignInNeeded:
        return None


OptionalViewer = Annotated[Viewer | None, Depends(find_viewer)]


async def check_form(request: Request, viewer: CurrentViewer) -> Fields:
    """The fields of a form with the token of this session. Empty for a page.

    Raises: SignInNeeded, FormRejected.
    """
    if request.method in SAFE_METHODS:
        return {}
    return await console_of(request).sessions.form(request, viewer)


CheckedFields = Annotated[Fields, Depends(check_form)]


async def check_anonymous_form(request: Request) -> Fields:
    """The fields of a form that needs no session. Empty for a page. Raises: FormRejected."""
    if request.method in SAFE_METHODS:
        return {}
    return await console_of(request).sessions.anonymous_form(request)


AnonymousFields = Annotated[Fields, Depends(check_anonymous_form)]


async def confirm_form(request: Request, viewer: CurrentViewer, fields: CheckedFields) -> Fields:
    """The fields of the form. A sensitive action has its proof of identity.

    It runs after the access rule of its route. Raises: ProofNeeded, TooManyLoginAttempts.
    """
    route: APIRoute = request.scope["route"]
    return await console_of(request).step_up.confirm(request, viewer, fields, path=route.path)


FormFields = Annotated[Fields, Depends(confirm_form)]


async def find_actor(request: Request, viewer: CurrentViewer) -> Actor:
    """The viewer as the actor of the audit log."""
    return actor_of(request, viewer.user_id)


CurrentActor = Annotated[Actor, Depends(find_actor)]
