"""The console's addresses, in one list. `api.app` includes this router; it is not part of the API's documents."""

from fastapi import APIRouter

from api.console.audit import AuditPages
from api.console.console import Console, console_route
from api.console.events import EventPages
from api.console.incidents import IncidentPages
from api.console.mailbox import MailboxPages
from api.console.parts import ConsoleParts
from api.console.projects import ProjectPages
from api.console.sign_in import SignInPages
from api.console.site import SitePages


def console_router(parts: ConsoleParts) -> APIRouter:
    """Every page and form of the console."""
    console = Console(parts)
    router = APIRouter(route_class=console_route(console), include_in_schema=False)
    site, entry, incidents = SitePages(console), SignInPages(console), IncidentPages(console)
    events, projects, mailbox = EventPages(console), ProjectPages(console), MailboxPages(console)
    audit = AuditPages(console)
    for path, show in (
        ("/", site.home),
        ("/static/{name}", site.static_file),
        ("/rail", site.rail),
        ("/login", entry.sign_in),
        ("/login/link", entry.link),
        ("/login/password", entry.choose_password),
        ("/incidents", incidents.listing),
        ("/incidents/{incident_id}", incidents.one),
        ("/events", events.listing),
        ("/events/{event_id}", events.one),
        ("/projects", projects.listing),
        ("/projects/{project_id}", projects.one),
        ("/audit", audit.listing),
        ("/mailbox", mailbox.listing),
        ("/mailbox/{name}", mailbox.one),
        ("/mailbox/{name}/html", mailbox.html_part),
    ):
        router.add_api_route(path, show, methods=["GET"])
    for path, do in (
        ("/login", entry.check_password),
        ("/login/link", entry.redeem_link),
        ("/login/password", entry.set_password),
        ("/logout", entry.sign_out),
        ("/incidents/{incident_id}/reprocess", incidents.reprocess),
        ("/incidents/{incident_id}/acknowledge", incidents.acknowledge),
        ("/incidents/{incident_id}/resolve", incidents.resolve),
        ("/events/{event_id}/expire", events.expire),
        ("/projects", projects.create),
        ("/projects/{project_id}", projects.save),
        ("/projects/{project_id}/delete", projects.delete),
        ("/projects/{project_id}/keys", projects.create_key),
        ("/projects/{project_id}/keys/{key_id}/revoke", projects.revoke_key),
        ("/projects/{project_id}/signing-secret", projects.rotate_signing_secret),
        ("/projects/{project_id}/signing-secret/finish", projects.finish_rotation),
        ("/audit/export", audit.export),
    ):
        router.add_api_route(path, do, methods=["POST"])
    return router
