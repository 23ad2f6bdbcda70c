"""The forms of sources: add, save, pause, resume, remove, check. Only for owners.

Each calls one function of `SourceOperations`, as REST does. A secret that was typed is never shown
again, also not beside an error.
"""

from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import PROJECT_OWNER, RouteSpec
from api.console.base import Console, error_message, saved_notice
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.sources.expectations import EXPECTS
from api.console.pages.sources.pages import SourcePages, sources_path
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from domain.audit import Actor
from domain.errors import NotFound, Refusal
from domain.sources.source import SourceKind
from operations.sources.expectation_lines import read_lines
from operations.sources.rules import secret_field

_TEXTS = ("shop_domain", "account", "identity")


class SourceForms:
    """Forms of owners on the pages of sources."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.sources
        self._pages = SourcePages(console)

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        sources = "/projects/{project_id}/sources"
        source = f"{sources}/{{source_id}}"
        return (
            ("POST", sources, self.add, PROJECT_OWNER),
            ("POST", source, self.save, PROJECT_OWNER),
            ("POST", f"{source}/check", self.check, PROJECT_OWNER),
            ("POST", f"{source}/pause", self.pause, PROJECT_OWNER),
            ("POST", f"{source}/resume", self.resume, PROJECT_OWNER),
            ("POST", f"{source}/remove", self.remove, PROJECT_OWNER),
        )

    async def add(
        self,
        request: Request,
        viewer: CurrentViewer,
        fields: FormFields,
        actor: CurrentActor,
        project_id: str,
    ) -> Response:
        kind = fields.get("kind", "")
        if kind not in tuple(SourceKind):
            return self._console.sessions.redirect(f"{sources_path(project_id)}#add")
        kind = SourceKind(kind)
        try:
            added = await self._operations.add_source(
                project_id, {"kind": kind, **_body(fields, kind)}, actor=actor
            )
        except Refusal as refusal:
            project = await self._console.operations.projects.read_project(project_id)
            typed = {**fields, **_typed(fields)}
            return await self._pages.new_page(
                request, viewer, project, kind=kind, typed=typed, refusal=refusal
            )
        text = "Source added. Follow the steps below to connect the provider."
        if not kind.is_webhook:
            text = "Source added. Its first listing begins in a few seconds."
        return self._console.sessions.redirect(
            source_path(project_id, added.id), viewer=viewer, notice=Notice("good", text)
        )

    async def save(
        self,
        request: Request,
        viewer: CurrentViewer,
        fields: FormFields,
        actor: CurrentActor,
        project_id: str,
        source_id: str,
    ) -> Response:
        found = await self._operations.read_source(project_id, source_id)
        changes = _body(fields, found.source.kind)
        try:
            changed = await self._operations.change_source(
                project_id, source_id, changes, actor=actor
            )
        except Refusal as refusal:
            return await self._pages.page(
                request, viewer, found, typed={**fields, **_typed(fields)}, refusal=refusal
            )
        notice = saved_notice(changed.warnings)
        return self._console.sessions.redirect(
            source_path(project_id, source_id), viewer=viewer, notice=notice
        )

    async def check(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, source_id: str
    ) -> Response:
        return await self._perform(
            viewer, project_id, source_id, self._checked(project_id, source_id, actor)
        )

    async def pause(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, source_id: str
    ) -> Response:
        success = Notice("good", "Paused. Nothing is expected until somebody resumes it.")
        action = self._set_paused(project_id, source_id, actor, True, success)
        return await self._perform(viewer, project_id, source_id, action)

    async def resume(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, source_id: str
    ) -> Response:
        success = Notice("good", "Resumed. A listing goes on where it was.")
        action = self._set_paused(project_id, source_id, actor, False, success)
        return await self._perform(viewer, project_id, source_id, action)

    async def remove(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, source_id: str
    ) -> Response:
        action = self._operations.remove_source(project_id, source_id, actor=actor)
        return await self._console.perform(
            viewer, action, success="The source is removed.", back=sources_path(project_id)
        )

    async def _perform(
        self, viewer: Viewer, project_id: str, source_id: str, action: Awaitable[Notice]
    ) -> Response:
        """Run the action and show its notice. If the source is gone, the list shows it."""
        back = source_path(project_id, source_id)
        try:
            notice = await action
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
            back = sources_path(project_id) if isinstance(refusal, NotFound) else back
        return self._console.sessions.redirect(back, viewer=viewer, notice=notice)

    async def _checked(self, project_id: str, source_id: str, actor: Actor) -> Notice:
        checked = await self._operations.check_source(project_id, source_id, actor=actor)
        return Notice("good" if checked.asked.ok else "bad", checked.asked.detail)

    async def _set_paused(
        self, project_id: str, source_id: str, actor: Actor, is_paused: bool, success: Notice
    ) -> Notice:
        changes = {"paused": is_paused}
        await self._operations.change_source(project_id, source_id, changes, actor=actor)
        return success


def source_path(project_id: str, source_id: str) -> str:
    """The address of the page of one source."""
    return f"{sources_path(project_id)}/{quote(source_id)}"


# The body of a POST or PATCH. Any: values are of any JSON type.
def _body(fields: Mapping[str, str], kind: SourceKind) -> dict[str, Any]:
    """The form as the body of the REST API. Empty fields of texts and secrets are left out."""
    body: dict[str, Any] = {
        "name": fields.get("name", "").strip(),
        "expects": read_lines(fields.get(EXPECTS, "")),
        "silent_after_minutes": _whole(fields.get("silent_after_minutes", "")),
    }
    if not kind.is_webhook:
        body["every_minutes"] = _whole(fields.get("every_minutes", ""))
    texts = {name: fields.get(name, "").strip() for name in (*_TEXTS, secret_field(kind))}
    return body | {name: text for name, text in texts.items() if text}


def _typed(fields: Mapping[str, str]) -> dict[str, object]:
    """What the form shows again: its lines are those that errors are counted by."""
    lines = [line for line in fields.get(EXPECTS, "").splitlines() if line.strip()]
    return {EXPECTS: "\n".join(lines)}


def _whole(text: str) -> int | str | None:
    """The whole number typed; None for an empty field.

    Other text is returned as it is, for the shared validation to reject.
    """
    text = text.strip()
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
