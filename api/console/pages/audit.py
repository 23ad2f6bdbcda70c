"""The audit log: the list of who did what, and its export, which is an entry itself. Nothing else is written here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.auth.audit_actor import actor_of
from api.console.base import Console
from api.console.pages.list_page import own_projects, project_names, shortened
from api.console.sign_in.sessions import Viewer
from api.console.ui import labels as wording
from api.console.ui.filters import ListAddress, read_audit_address
from api.console.ui.rendering import HEADERS
from domain.audit import CLI, TEMPORAL, VISITOR, AuditAction
from domain.errors import NotFound
from domain.ids import ProjectId
from domain.users import Role
from operations.audit import AuditFilters
from store.people import users

ROWS = 50
BAD = (AuditAction.SIGN_IN_FAILED, AuditAction.PROOF_FAILED, AuditAction.TRIES_REFUSED, AuditAction.AUDIT_DAMAGE_FOUND)
FILE = {"Content-Disposition": 'attachment; filename="makegood-audit.jsonl"'}
# The REST shape of an entry: JSON, so its values are of any JSON type.
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as the page tells it; `link` is None where its subject has no page."""

    at: str
    who: str
    who_id: str
    what: str
    is_bad: bool
    on: str
    link: str | None
    project: str
    address: str
    facts: tuple[tuple[str, str], ...]


class AuditPages:
    """The log, by project and all of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    async def listing(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        address = read_audit_address(request.query_params)
        if elsewhere := shortened(self._console, request, address):
            return elsewhere
        projects = await own_projects(self._console, viewer)
        owned = {one["project_id"]: str(one["name"]) for one in projects if _owns(viewer, one["project_id"])}
        if not viewer.access.is_administrator:
            if "project" not in address.chosen and owned:
                first = {"project": next(iter(owned)), **address.chosen}
                return self._console.sessions.redirect(str(replace(address, chosen=first, cursor=None)))
            address = replace(address, stays=("project",))
        self._check(viewer, address)
        page = await self._operations.audit.list_audit(
            address.chosen.get("project"), _filters(address), limit=ROWS, cursor=address.cursor
        )
        names = await self._names(viewer, page["data"])
        owned = await self._with_named(viewer, owned, page["data"], address.chosen.get("project"))
        values = {
            "lines": [tell(entry, names, owned) for entry in page["data"]],
            "next_cursor": page["next_cursor"],
            "address_of": address,
            "project_names": owned,
            "actions": [(action.value, wording.words(action.value)) for action in AuditAction],
            "actors": _actors(names, address.chosen.get("actor")),
        }
        return await self._console.show(request, viewer, page="audit.html", here="audit", values=values)

    async def export(self, request: Request) -> Response:
        """The entries that the page's filters leave, as a file. A POST: the export is itself an entry.

        An owner's tells no entry's place in the log of all projects: it would tell how much others do.
        """
        viewer = await self._console.viewer(request)
        fields = await self._console.sessions.form(request, viewer)
        address = read_audit_address(fields)
        self._check(viewer, address)
        lines = await self._operations.audit.export_audit(
            address.chosen.get("project"),
            _filters(address),
            actor=actor_of(request, viewer.user_id),
            with_chain=viewer.access.is_administrator,
        )
        return StreamingResponse(lines, media_type="application/jsonl", headers={**HEADERS, **FILE})

    async def _with_named(
        self, viewer: Viewer, owned: Mapping[str, str], entries: list[Json], chosen: str | None
    ) -> dict[str, str]:
        """These names, and those of the other projects of the viewer's that the page names: the list of one's own is bounded."""
        named = {entry["subject_id"] if entry["subject_type"] == "project" else entry["project_id"] for entry in entries}
        others = {str(one) for one in {*named, chosen} if one is not None and _owns(viewer, one)} - owned.keys()
        return {**owned, **await project_names(self._console, viewer, (), others)}

    def _check(self, viewer: Viewer, address: ListAddress) -> None:
        """What belongs to no project is an administrator's alone. Raises: NotFound."""
        if not viewer.access.is_administrator and not _owns(viewer, address.chosen.get("project", "")):
            raise NotFound("There is no such project, or you do not own it: its audit log is for its owners.")

    async def _names(self, viewer: Viewer, entries: list[Json]) -> dict[str, str]:
        """The addresses of the users named, by their ids, which alone the log has; for an administrator others to choose too."""
        named = {str(entry[name]) for entry in entries for name in ("actor", "subject_id")}
        async with self._console.parts.database.reading() as session:
            shown = await users.read_users(session, named)
            others = await users.list_users(session) if viewer.access.is_administrator else []
        return {user.user_id: user.email or wording.short_id(user.user_id) for user in (*others, *shown)}


def _owns(viewer: Viewer, project_id: str) -> bool:
    return viewer.access.role_in(ProjectId(project_id)) is Role.OWNER


def tell(entry: Json, names: Mapping[str, str], project_names: Mapping[str, str]) -> Line:
    """One entry in words; `names` are the users' addresses by their ids."""
    actor, subject_id = str(entry["actor"]), entry["subject_id"]
    kind, details = entry["subject_type"], dict(entry["details"])
    links = {"project": f"/projects/{subject_id}", "incident": f"/incidents/{subject_id}", "receipt": f"/events/{subject_id}"}
    named = {**names, **project_names}.get(str(subject_id), wording.short_id(str(subject_id)))
    is_gone = kind == "project" and subject_id not in project_names
    project_id = None if kind == "project" else entry["project_id"]
    return Line(
        at=entry["at"],
        who=_who(actor, names),
        who_id=actor,
        what=wording.words(entry["action"]),
        is_bad=entry["action"] in BAD,
        on=wording.words(kind) if subject_id is None else f"{wording.words(kind)} {named}",
        link=links.get(kind) if subject_id and not is_gone else None,
        project="" if project_id is None else project_names.get(project_id, wording.short_id(project_id)),
        address=entry["address"] or "",
        facts=tuple((wording.words(name), _value(value)) for name, value in details.items() if value not in ([], None)),
    )


def _actors(names: Mapping[str, str], chosen: str | None) -> list[tuple[str, str]]:
    """Who may be chosen: everyone with an account, nobody who is signed in, and whoever is chosen now."""
    known = {**names, CLI: "Command line", TEMPORAL: "Temporal", VISITOR: "Not signed in"}
    if chosen is not None and chosen not in known:
        known[chosen] = _who(chosen, names)
    return list(known.items())


def _who(actor: str, names: Mapping[str, str]) -> str:
    kind, _, name = actor.partition(":")
    if kind == CLI and name:
        return f"{name} on the command line"
    return names.get(actor) or {TEMPORAL: "Temporal", VISITOR: "Not signed in"}.get(actor, wording.short_id(actor))


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return wording.short_id(value) if isinstance(value, str) else str(value).lower()


def _filters(address: ListAddress) -> AuditFilters:
    chosen = address.chosen
    return AuditFilters(chosen.get("actor"), chosen.get("action"), address.created_after, address.created_before)
