"""All addresses of the console, each with its access level (`api.console.access`).

`api.app` includes this router. It is not part of the OpenAPI document.
"""

from fastapi import APIRouter

from api.console.access import AccessLevel
from api.console.base import Console, Handler, console_route
from api.console.composition import ConsoleDependencies
from api.console.pages.account import AccountPages
from api.console.pages.audit import AuditPages
from api.console.pages.events import EventPages
from api.console.pages.home import HomePages
from api.console.pages.incidents import IncidentPages
from api.console.pages.mailbox import MailboxPages
from api.console.pages.members import MemberPages
from api.console.pages.oidc import OidcPages
from api.console.pages.projects import ProjectPages
from api.console.pages.second_factor import SecondFactorPages
from api.console.pages.sign_in import SignInPages

RouteSpec = tuple[str, str, Handler, AccessLevel]


def console_router(parts: ConsoleDependencies) -> APIRouter:
    """The router of all pages and forms of the console."""
    console = Console(parts)
    routes = _routes(console)
    levels = {(method, path): level for method, path, _, level in routes}
    router = APIRouter(route_class=console_route(console, levels), include_in_schema=False)
    for method, path, handler, _ in routes:
        router.add_api_route(path, handler, methods=[method])
    return router


def _routes(console: Console) -> tuple[RouteSpec, ...]:
    home, account, members = HomePages(console), AccountPages(console), MemberPages(console)
    sign_in, second_factor, oidc = (
        SignInPages(console),
        SecondFactorPages(console),
        OidcPages(console),
    )
    incidents, events, projects = IncidentPages(console), EventPages(console), ProjectPages(console)
    mailbox, audit = MailboxPages(console), AuditPages(console)
    return (
        ("GET", "/", home.home, AccessLevel.SIGNED_IN),
        ("GET", "/static/{name}", home.static_file, AccessLevel.PUBLIC),
        ("GET", "/rail", home.rail, AccessLevel.SIGNED_IN),
        ("GET", "/login", sign_in.sign_in, AccessLevel.PUBLIC),
        ("GET", "/login/link", sign_in.link, AccessLevel.PUBLIC),
        ("GET", "/login/password", sign_in.choose_password, AccessLevel.SIGNED_IN),
        ("GET", "/login/code", second_factor.ask_code, AccessLevel.PUBLIC),
        ("GET", "/login/oidc", oidc.begin, AccessLevel.PUBLIC),
        ("GET", "/login/oidc/callback", oidc.finish, AccessLevel.PUBLIC),
        ("GET", "/join", members.invitation, AccessLevel.PUBLIC),
        ("GET", "/account", account.sessions, AccessLevel.SIGNED_IN),
        ("GET", "/account/security", second_factor.security, AccessLevel.SIGNED_IN),
        ("GET", "/account/totp", second_factor.enrol, AccessLevel.SIGNED_IN),
        ("GET", "/account/totp/qr.svg", second_factor.qr, AccessLevel.SIGNED_IN),
        ("GET", "/incidents", incidents.listing, AccessLevel.SIGNED_IN),
        ("GET", "/incidents/{incident_id}", incidents.one, AccessLevel.VIEWER),
        ("GET", "/events", events.listing, AccessLevel.SIGNED_IN),
        ("GET", "/events/{event_id}", events.one, AccessLevel.VIEWER),
        ("GET", "/projects", projects.listing, AccessLevel.SIGNED_IN),
        ("GET", "/projects/{project_id}", projects.one, AccessLevel.VIEWER),
        # The page checks ownership itself, because the project is in its filter.
        ("GET", "/audit", audit.listing, AccessLevel.SIGNED_IN),
        ("GET", "/mailbox", mailbox.listing, AccessLevel.ADMINISTRATOR),
        ("GET", "/mailbox/{name}", mailbox.one, AccessLevel.ADMINISTRATOR),
        ("GET", "/mailbox/{name}/html", mailbox.html_part, AccessLevel.ADMINISTRATOR),
        ("POST", "/login", sign_in.check_password, AccessLevel.PUBLIC),
        ("POST", "/login/link", sign_in.redeem_link, AccessLevel.PUBLIC),
        ("POST", "/login/password", sign_in.set_password, AccessLevel.SIGNED_IN),
        ("POST", "/login/code", second_factor.check_code, AccessLevel.PUBLIC),
        ("POST", "/logout", sign_in.sign_out, AccessLevel.SIGNED_IN),
        ("POST", "/join", members.accept, AccessLevel.PUBLIC),
        ("POST", "/account/sessions/end-others", account.end_others, AccessLevel.SIGNED_IN),
        ("POST", "/account/sessions/{session_id}/end", account.end_one, AccessLevel.SIGNED_IN),
        ("POST", "/account/totp", second_factor.begin, AccessLevel.SIGNED_IN),
        ("POST", "/account/totp/confirm", second_factor.confirm, AccessLevel.SIGNED_IN),
        ("POST", "/account/totp/remove", second_factor.remove, AccessLevel.SIGNED_IN),
        ("POST", "/account/recovery-codes", second_factor.renew_codes, AccessLevel.SIGNED_IN),
        ("POST", "/incidents/{incident_id}/reprocess", incidents.reprocess, AccessLevel.OPERATOR),
        (
            "POST",
            "/incidents/{incident_id}/acknowledge",
            incidents.acknowledge,
            AccessLevel.OPERATOR,
        ),
        ("POST", "/incidents/{incident_id}/resolve", incidents.resolve, AccessLevel.OPERATOR),
        ("POST", "/events/{event_id}/expire", events.expire, AccessLevel.OPERATOR),
        ("POST", "/events/{event_id}/restart", events.restart, AccessLevel.OPERATOR),
        ("POST", "/projects", projects.create, AccessLevel.ADMINISTRATOR),
        ("POST", "/projects/{project_id}", projects.save, AccessLevel.OWNER),
        ("POST", "/projects/{project_id}/delete", projects.delete, AccessLevel.OWNER),
        ("POST", "/projects/{project_id}/keys", projects.create_key, AccessLevel.OWNER),
        (
            "POST",
            "/projects/{project_id}/keys/{key_id}/revoke",
            projects.revoke_key,
            AccessLevel.OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/signing-secret",
            projects.rotate_signing_secret,
            AccessLevel.OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/signing-secret/finish",
            projects.finish_rotation,
            AccessLevel.OWNER,
        ),
        ("POST", "/projects/{project_id}/members", members.invite, AccessLevel.OWNER),
        (
            "POST",
            "/projects/{project_id}/members/{user_id}/role",
            members.change_role,
            AccessLevel.OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/members/{user_id}/remove",
            members.remove,
            AccessLevel.OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/invitations/{invitation_id}/withdraw",
            members.withdraw,
            AccessLevel.OWNER,
        ),
        ("POST", "/audit/export", audit.export, AccessLevel.SIGNED_IN),
    )
