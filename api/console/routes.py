"""All addresses of the console, each with its access rule (`api.console.access`).

`api.app` includes this router. It is not part of the OpenAPI document.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.console.access import (
    ADMINISTRATOR,
    ANYONE,
    EVENT_OPERATOR,
    EVENT_VIEWER,
    INCIDENT_OPERATOR,
    INCIDENT_VIEWER,
    PROJECT_OWNER,
    PROJECT_VIEWER,
    SIGNED_IN,
    AccessRule,
    check_origin,
)
from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.dependencies import confirm_form, provide
from api.console.error_pages import ConsoleRoute
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

# The handler of a page or form. Its parameters are dependencies and path parameters.
Handler = Callable[..., Awaitable[Response]]
RouteSpec = tuple[str, str, Handler, AccessRule]


def console_router(parts: ConsoleDependencies) -> APIRouter:
    """The router of all pages and forms of the console."""
    console = Console(parts)
    router = APIRouter(
        route_class=ConsoleRoute,
        include_in_schema=False,
        dependencies=[provide(console), Depends(check_origin)],
    )
    for method, path, handler, rule in _routes(console):
        # The step-up of a sensitive action follows the access rule.
        proof = [] if method == "GET" or rule is ANYONE else [Depends(confirm_form)]
        router.add_api_route(path, handler, methods=[method], dependencies=[rule, *proof])
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
        ("GET", "/", home.home, SIGNED_IN),
        ("GET", "/static/{name}", home.static_file, ANYONE),
        ("GET", "/rail", home.rail, SIGNED_IN),
        ("GET", "/login", sign_in.sign_in, ANYONE),
        ("GET", "/login/link", sign_in.link, ANYONE),
        ("GET", "/login/password", sign_in.choose_password, SIGNED_IN),
        ("GET", "/login/code", second_factor.ask_code, ANYONE),
        ("GET", "/login/oidc", oidc.begin, ANYONE),
        ("GET", "/login/oidc/callback", oidc.finish, ANYONE),
        ("GET", "/join", members.invitation, ANYONE),
        ("GET", "/account", account.sessions, SIGNED_IN),
        ("GET", "/account/security", second_factor.security, SIGNED_IN),
        ("GET", "/account/totp", second_factor.enrol, SIGNED_IN),
        ("GET", "/account/totp/qr.svg", second_factor.qr, SIGNED_IN),
        ("GET", "/incidents", incidents.listing, SIGNED_IN),
        ("GET", "/incidents/{incident_id}", incidents.one, INCIDENT_VIEWER),
        ("GET", "/events", events.listing, SIGNED_IN),
        ("GET", "/events/{event_id}", events.one, EVENT_VIEWER),
        ("GET", "/projects", projects.listing, SIGNED_IN),
        ("GET", "/projects/{project_id}", projects.one, PROJECT_VIEWER),
        # The page checks ownership itself, because the project is in its filter.
        ("GET", "/audit", audit.listing, SIGNED_IN),
        ("GET", "/mailbox", mailbox.listing, ADMINISTRATOR),
        ("GET", "/mailbox/{name}", mailbox.one, ADMINISTRATOR),
        ("GET", "/mailbox/{name}/html", mailbox.html_part, ADMINISTRATOR),
        ("POST", "/login", sign_in.check_password, ANYONE),
        ("POST", "/login/link", sign_in.redeem_link, ANYONE),
        ("POST", "/login/password", sign_in.set_password, SIGNED_IN),
        ("POST", "/login/code", second_factor.check_code, ANYONE),
        ("POST", "/logout", sign_in.sign_out, SIGNED_IN),
        ("POST", "/join", members.accept, ANYONE),
        ("POST", "/account/sessions/end-others", account.end_others, SIGNED_IN),
        ("POST", "/account/sessions/{session_id}/end", account.end_one, SIGNED_IN),
        ("POST", "/account/totp", second_factor.begin, SIGNED_IN),
        ("POST", "/account/totp/confirm", second_factor.confirm, SIGNED_IN),
        ("POST", "/account/totp/remove", second_factor.remove, SIGNED_IN),
        ("POST", "/account/recovery-codes", second_factor.renew_codes, SIGNED_IN),
        ("POST", "/incidents/{incident_id}/reprocess", incidents.reprocess, INCIDENT_OPERATOR),
        (
            "POST",
            "/incidents/{incident_id}/acknowledge",
            incidents.acknowledge,
            INCIDENT_OPERATOR,
        ),
        ("POST", "/incidents/{incident_id}/resolve", incidents.resolve, INCIDENT_OPERATOR),
        ("POST", "/events/{event_id}/expire", events.expire, EVENT_OPERATOR),
        ("POST", "/events/{event_id}/restart", events.restart, EVENT_OPERATOR),
        ("POST", "/projects", projects.create, ADMINISTRATOR),
        ("POST", "/projects/{project_id}", projects.save, PROJECT_OWNER),
        ("POST", "/projects/{project_id}/delete", projects.delete, PROJECT_OWNER),
        ("POST", "/projects/{project_id}/keys", projects.create_key, PROJECT_OWNER),
        (
            "POST",
            "/projects/{project_id}/keys/{key_id}/revoke",
            projects.revoke_key,
            PROJECT_OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/signing-secret",
            projects.rotate_signing_secret,
            PROJECT_OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/signing-secret/finish",
            projects.finish_rotation,
            PROJECT_OWNER,
        ),
        ("POST", "/projects/{project_id}/members", members.invite, PROJECT_OWNER),
        (
            "POST",
            "/projects/{project_id}/members/{user_id}/role",
            members.change_role,
            PROJECT_OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/members/{user_id}/remove",
            members.remove,
            PROJECT_OWNER,
        ),
        (
            "POST",
            "/projects/{project_id}/invitations/{invitation_id}/withdraw",
            members.withdraw,
            PROJECT_OWNER,
        ),
        ("POST", "/audit/export", audit.export, SIGNED_IN),
    )
