"""The console's addresses, in one list, each with what it needs of whoever comes (`guard`).

`api.app` includes this router; it is not part of the API's documents.
"""

from fastapi import APIRouter

from api.console.access import Needs
from api.console.base import Console, Handler, console_route
from api.console.composition import ConsoleParts
from api.console.pages.account import AccountPages
from api.console.pages.audit import AuditPages
from api.console.pages.events import EventPages
from api.console.pages.home import SitePages
from api.console.pages.incidents import IncidentPages
from api.console.pages.mailbox import MailboxPages
from api.console.pages.members import MemberPages
from api.console.pages.oidc import OidcPages
from api.console.pages.projects import ProjectPages
from api.console.pages.second_factor import FactorPages
from api.console.pages.sign_in import SignInPages

Address = tuple[str, str, Handler, Needs]


def console_router(parts: ConsoleParts) -> APIRouter:
    """Every page and form of the console."""
    console = Console(parts)
    addresses = _addresses(console)
    needs = {(method, path): needed for method, path, _, needed in addresses}
    router = APIRouter(route_class=console_route(console, needs), include_in_schema=False)
    for method, path, handler, _ in addresses:
        router.add_api_route(path, handler, methods=[method])
    return router


def _addresses(console: Console) -> tuple[Address, ...]:
    site, entry, account, incidents = SitePages(console), SignInPages(console), AccountPages(console), IncidentPages(console)
    events, projects, mailbox, members = EventPages(console), ProjectPages(console), MailboxPages(console), MemberPages(console)
    factors, oidc, audit = FactorPages(console), OidcPages(console), AuditPages(console)
    return (
        ("GET", "/", site.home, Needs.USER),
        ("GET", "/static/{name}", site.static_file, Needs.NOBODY),
        ("GET", "/rail", site.rail, Needs.USER),
        ("GET", "/login", entry.sign_in, Needs.NOBODY),
        ("GET", "/login/link", entry.link, Needs.NOBODY),
        ("GET", "/login/password", entry.choose_password, Needs.USER),
        ("GET", "/login/code", factors.ask_code, Needs.NOBODY),
        ("GET", "/login/oidc", oidc.begin, Needs.NOBODY),
        ("GET", "/login/oidc/callback", oidc.finish, Needs.NOBODY),
        ("GET", "/join", members.invitation, Needs.NOBODY),
        ("GET", "/account", account.sessions, Needs.USER),
        ("GET", "/account/security", factors.security, Needs.USER),
        ("GET", "/account/totp", factors.enrol, Needs.USER),
        ("GET", "/account/totp/qr.svg", factors.qr, Needs.USER),
        ("GET", "/incidents", incidents.listing, Needs.USER),
        ("GET", "/incidents/{incident_id}", incidents.one, Needs.VIEWER),
        ("GET", "/events", events.listing, Needs.USER),
        ("GET", "/events/{event_id}", events.one, Needs.VIEWER),
        ("GET", "/projects", projects.listing, Needs.USER),
        ("GET", "/projects/{project_id}", projects.one, Needs.VIEWER),
        # Of one's own projects; the page itself judges which, since its filter names it.
        ("GET", "/audit", audit.listing, Needs.USER),
        ("GET", "/mailbox", mailbox.listing, Needs.ADMINISTRATOR),
        ("GET", "/mailbox/{name}", mailbox.one, Needs.ADMINISTRATOR),
        ("GET", "/mailbox/{name}/html", mailbox.html_part, Needs.ADMINISTRATOR),
        ("POST", "/login", entry.check_password, Needs.NOBODY),
        ("POST", "/login/link", entry.redeem_link, Needs.NOBODY),
        ("POST", "/login/password", entry.set_password, Needs.USER),
        ("POST", "/login/code", factors.check_code, Needs.NOBODY),
        ("POST", "/logout", entry.sign_out, Needs.USER),
        ("POST", "/join", members.accept, Needs.NOBODY),
        ("POST", "/account/sessions/end-others", account.end_others, Needs.USER),
        ("POST", "/account/sessions/{session_id}/end", account.end_one, Needs.USER),
        ("POST", "/account/totp", factors.begin, Needs.USER),
        ("POST", "/account/totp/confirm", factors.confirm, Needs.USER),
        ("POST", "/account/totp/remove", factors.remove, Needs.USER),
        ("POST", "/account/recovery-codes", factors.renew_codes, Needs.USER),
        ("POST", "/incidents/{incident_id}/reprocess", incidents.reprocess, Needs.OPERATOR),
        ("POST", "/incidents/{incident_id}/acknowledge", incidents.acknowledge, Needs.OPERATOR),
        ("POST", "/incidents/{incident_id}/resolve", incidents.resolve, Needs.OPERATOR),
        ("POST", "/events/{event_id}/expire", events.expire, Needs.OPERATOR),
        ("POST", "/events/{event_id}/restart", events.restart, Needs.OPERATOR),
        ("POST", "/projects", projects.create, Needs.ADMINISTRATOR),
        ("POST", "/projects/{project_id}", projects.save, Needs.OWNER),
        ("POST", "/projects/{project_id}/delete", projects.delete, Needs.OWNER),
        ("POST", "/projects/{project_id}/keys", projects.create_key, Needs.OWNER),
        ("POST", "/projects/{project_id}/keys/{key_id}/revoke", projects.revoke_key, Needs.OWNER),
        ("POST", "/projects/{project_id}/signing-secret", projects.rotate_signing_secret, Needs.OWNER),
        ("POST", "/projects/{project_id}/signing-secret/finish", projects.finish_rotation, Needs.OWNER),
        ("POST", "/projects/{project_id}/members", members.invite, Needs.OWNER),
        ("POST", "/projects/{project_id}/members/{user_id}/role", members.change_role, Needs.OWNER),
        ("POST", "/projects/{project_id}/members/{user_id}/remove", members.remove, Needs.OWNER),
        ("POST", "/projects/{project_id}/invitations/{invitation_id}/withdraw", members.withdraw, Needs.OWNER),
        ("POST", "/audit/export", audit.export, Needs.USER),
    )
