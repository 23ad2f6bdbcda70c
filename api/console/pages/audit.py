"""The audit log: the list and its export. Each export writes an audit entry itself."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.console.access import SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.list_page import own_projects, project_names, redirect_to_short_address
from api.console.sign_in.sessions import Viewer
from api.console.ui import labels
from api.console.ui.filters import ListAddress, read_audit_address
from api.console.ui.rendering import HEADERS
from domain.audit import (
    CLI,
    TEMPORAL,
    VISITOR,
    AuditAction,
    AuditEntry,
    SubjectType,
    read_details,
)
from domain.errors import NotFound
from domain.ids import ProjectId
from domain.users import Role
from operations.responses.audit import json_lines
from operations.validation import known_id
from store.audit.log import AuditFilters
from store.people import users
from store.receipts.rows.names import read_names

ROWS = 50
BAD = (
    AuditAction.SIGN_IN_FAILED,
    AuditAction.PROOF_FAILED,
    AuditAction.TRIES_REFUSED,
    AuditAction.AUDIT_DAMAGE_FOUND,
)
FILE = {"Content-Disposition": 'attachment; filename="makegood-audit.jsonl"'}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One rendered entry of the audit log. `link` is None if the subject has no page."""

    at: datetime
    actor: str
    actor_id: str
    action: str
    is_bad: bool
    subject: str
    link: str | None
    project: str
    address: str
    facts: tuple[tuple[str, str], ...]


class AuditPages:
    """The log of one project, or the whole log for administrators."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            # The page checks ownership itself, because the project is in its filter.
            ("GET", "/audit", self.listing, SIGNED_IN),
            ("POST", "/audit/export", self.export, SIGNED_IN),
        )

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        address = read_audit_address(request.query_params, zone=viewer.dates.zone)
        if redirect := redirect_to_short_address(self._console, request, address):
            return redirect
        projects = await own_projects(self._console, viewer)
        owned: dict[str, str] = {one.id: one.name for one in projects if _owns(viewer, one.id)}
        if not viewer.access.is_administrator:
            if "project" not in address.chosen and owned:
                first = {"project": next(iter(owned)), **address.chosen, **address.ignored}
                return self._console.sessions.redirect(
                    str(replace(address, chosen=first, cursor=None))
                )
            address = replace(address, required=("project",))
        self._check(viewer, address)
        page = await self._operations.audit.list_audit(
            _filters(address), limit=ROWS, cursor=address.cursor
        )
        names = await self._names(viewer, page.rows)
        shown = await self._with_named(viewer, owned, page.rows, address.chosen.get("project"))
        values = {
            "lines": [render_entry(entry, names, shown) for entry in page.rows],
            "next_cursor": page.next_cursor,
            "address_of": address,
            "project_names": shown,
            "actions": [(action.value, labels.humanize(action.value)) for action in AuditAction],
            "actors": _actors(names, address.chosen.get("actor")),
        }
        return await self._console.render_page(
            request, viewer, page="audit.html", section="audit", values=values
        )

    async def export(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor
    ) -> Response:
        """The filtered entries as a file. A POST, because the export writes an audit entry.

        The export of an owner omits positions in the whole log, which would reveal the activity of
        others.
        """
        address = read_audit_address(fields, zone=viewer.dates.zone)
        self._check(viewer, address)
        chunks = await self._operations.audit.export_audit(_filters(address), actor=actor)
        lines = _lines(chunks, with_chain=viewer.access.is_administrator)
        return StreamingResponse(lines, media_type="application/jsonl", headers={**HEADERS, **FILE})

    async def _with_named(
        self,
        viewer: Viewer,
        owned: Mapping[str, str],
        entries: Sequence[AuditEntry],
        chosen: str | None,
    ) -> dict[str, str]:
        """Add the names of the viewer's other projects on the page: the list is bounded."""
        named = {
            entry.subject_id if entry.subject_type == SubjectType.PROJECT else entry.project_id
            for entry in entries
        }
        others = {
            one for one in {*named, chosen} if one is not None and _owns(viewer, one)
        } - owned.keys()
        return {**owned, **await project_names(self._console, viewer, (), others)}

    def _check(self, viewer: Viewer, address: ListAddress) -> None:
        """Only administrators see entries of other projects or of no project. Raises: NotFound."""
        if not viewer.access.is_administrator and not _owns(
            viewer, address.chosen.get("project", "")
        ):
            raise NotFound("There is no such project, or you are not one of its owners.")

    async def _names(self, viewer: Viewer, entries: Iterable[AuditEntry]) -> dict[str, str]:
        """Email addresses by user id and labels by key id, because entries hold only ids.

        Administrators also get all other users.
        """
        named = {one for entry in entries for one in _people_of(entry) if one}
        async with self._console.parts.database.reading() as session:
            shown = await users.read_users(session, named)
            others = await users.list_users(session) if viewer.access.is_administrator else []
            keys = await read_names(session, {one for one in named if one.startswith("key_")})
        return keys | {
            user.user_id: user.email or labels.short_id(user.user_id) for user in (*others, *shown)
        }


def _owns(viewer: Viewer, project_id: str) -> bool:
    return viewer.access.role_in(ProjectId(project_id)) is Role.OWNER


def render_entry(
    entry: AuditEntry, names: Mapping[str, str], project_names: Mapping[str, str]
) -> AuditRow:
    """Render one entry of the audit log. `names` are email addresses and labels by id."""
    kind, subject_id = entry.subject_type, entry.subject_id
    links: Mapping[str | None, str] = {
        SubjectType.PROJECT: f"/projects/{subject_id}",
        SubjectType.INCIDENT: f"/incidents/{subject_id}",
        SubjectType.RECEIPT: f"/events/{subject_id}",
    }
    named = {**names, **project_names}.get(str(subject_id), labels.short_id(str(subject_id)))
    is_gone = kind == SubjectType.PROJECT and subject_id not in project_names
    project_id = None if kind == SubjectType.PROJECT else entry.project_id
    return AuditRow(
        at=entry.at,
        actor=_actor_name(entry.actor, names),
        actor_id=entry.actor,
        action=labels.humanize(entry.action),
        is_bad=entry.action in BAD,
        subject=labels.humanize(kind) if subject_id is None else f"{labels.humanize(kind)} {named}",
        link=links.get(kind) if subject_id and not is_gone else None,
        project=""
        if project_id is None
        else project_names.get(project_id, labels.short_id(project_id)),
        address=entry.address or "",
        facts=tuple(
            (labels.humanize(name), _value(value, names))
            for name, value in read_details(entry.details).items()
            if value not in ([], None)
        ),
    )


def _actors(names: Mapping[str, str], chosen: str | None) -> list[tuple[str, str]]:
    """The choices of the actor filter, including the current choice."""
    known = {**names, CLI: "Command line", TEMPORAL: "Temporal", VISITOR: "Not signed in"}
    if chosen is not None and chosen not in known:
        known[chosen] = _actor_name(chosen, names)
    return list(known.items())


def _actor_name(actor: str, names: Mapping[str, str]) -> str:
    kind, _, name = actor.partition(":")
    if kind == CLI and name:
        return f"{name} on the command line"
    return names.get(actor) or {TEMPORAL: "Temporal", VISITOR: "Not signed in"}.get(
        actor, labels.short_id(actor)
    )


def _people_of(entry: AuditEntry) -> tuple[str | None, ...]:
    """The ids that may be of people or keys."""
    assignee = read_details(entry.details).get("assignee")
    return entry.actor, entry.subject_id, known_id(str(assignee or ""))


def _value(value: object, names: Mapping[str, str]) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str):
        return names.get(value) or labels.short_id(value)
    return str(value).lower()


def _filters(address: ListAddress) -> AuditFilters:
    chosen = address.chosen
    project_id = chosen.get("project")
    return AuditFilters(
        project_id=None if project_id is None else ProjectId(project_id),
        actor=chosen.get("actor"),
        action=chosen.get("action"),
        created_after=address.created_after,
        created_before=address.created_before,
    )


async def _lines(
    chunks: AsyncIterator[list[AuditEntry]], *, with_chain: bool
) -> AsyncIterator[bytes]:
    async for entries in chunks:
        yield json_lines(entries, with_chain=with_chain)
