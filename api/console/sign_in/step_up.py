"""Asks a person again who he is, before an act that matters: at most 10 minutes after the last time he proved it.

Which acts those are is the one table below. The form that was sent is held, sealed, in the page that asks; with the proof it goes
on as if nothing had been between. Never performs an act; `console_route` calls it before the act's own code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from api.console.composition import ConsoleParts
from api.console.sign_in.flow import SignInFlow
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import Sessions, Viewer
from api.console.ui.rendering import Pages, Values
from store.people import second_factor as factors
from store.people import users
from store.people.identities import has_identity

PROOF_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Sensitive:
    """What a form does, after "To", and the page that has it."""

    act: str
    page: str


# By the path of the POST. `tests/console/sign_in/test_step_up.py` goes by the router: a form that is new must be judged there.
SENSITIVE_ACTIONS: Mapping[str, Sensitive] = {
    "/projects": Sensitive("create a project and see its secrets", "/projects"),
    "/projects/{project_id}": Sensitive("change where a project calls and whom it tells", "/projects/{project_id}"),
    "/projects/{project_id}/delete": Sensitive("delete a project for good", "/projects/{project_id}"),
    "/audit/export": Sensitive("export the audit log", "/audit"),
    "/projects/{project_id}/keys": Sensitive("create an API key", "/projects/{project_id}"),
    "/projects/{project_id}/signing-secret": Sensitive("make the next signing secret", "/projects/{project_id}"),
    "/projects/{project_id}/signing-secret/finish": Sensitive("use the next signing secret alone", "/projects/{project_id}"),
    "/projects/{project_id}/members": Sensitive("invite somebody into a project", "/projects/{project_id}"),
    "/projects/{project_id}/members/{user_id}/role": Sensitive("change what a member may do", "/projects/{project_id}"),
    "/login/password": Sensitive("change your password", "/login/password"),
    "/account/totp": Sensitive("set up your authenticator app", "/account/security"),
    "/account/totp/confirm": Sensitive("turn on your authenticator app", "/account/totp"),
    "/account/recovery-codes": Sensitive("make new recovery codes", "/account/security"),
}


class StepUpAuth:
    """Stands before the acts of the table; made once per process."""

    def __init__(
        self, parts: ConsoleParts, sessions: Sessions, entrance: SignInFlow, own_acts: SelfServiceAudit, pages: Pages
    ) -> None:
        self._parts, self._sessions, self._entrance, self._own_acts, self._pages = parts, sessions, entrance, own_acts, pages

    async def ask(self, request: Request, path: str) -> Response | None:
        """The page that asks for a proof; None when the act may go on. `path` is the route's own.

        Raises: SignInNeeded, FormRejected, TooManyTries.
        """
        sensitive = SENSITIVE_ACTIONS.get(path)
        if sensitive is None or request.method != "POST":
            return None
        viewer = await self._sessions.viewer(request)
        fields = await self._sessions.form(request, viewer)
        async with self._parts.database.reading() as session:
            now = await self._parts.database.now(session)
            proved_at = await factors.read_proved_at(session, token=viewer.token)
        held = self._sessions.carried_fields(fields.get("held", ""), viewer=viewer, path=request.url.path, now=now)
        if held is None:
            if is_fresh(proved_at, now):
                return None
            return await self._page(request, viewer, sensitive, fields, now=now)
        if not is_fresh(proved_at, now) and not await self._proves(request, viewer, fields):
            return await self._page(request, viewer, sensitive, held, now=now, is_wrong=True)
        request.state.carried_fields = held
        return None

    async def _proves(self, request: Request, viewer: Viewer, fields: Mapping[str, str]) -> bool:
        async with self._parts.database.reading() as session:
            asks_for_code = await factors.has_totp(session, viewer.user_id)
        one = self._entrance.tries.to_prove(request, viewer.user_id, by="code" if asks_for_code else "password")
        await self._entrance.tries.begin(one)
        is_right = self._is_right_code if asks_for_code else self._is_right_password
        if not await is_right(request, viewer, fields.get("proof", "")):
            await self._entrance.tries.record_failure(one)
            return False
        await self._entrance.tries.was_right(one)
        return True

    async def _is_right_code(self, request: Request, viewer: Viewer, proof: str) -> bool:
        """Whether this is the person's code; the session remembers it."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            accepted = await factors.accept_code(session, self._parts.sealer, viewer.user_id, code=proof, now=now)
            if accepted is not None:
                await factors.mark_proved(session, token=viewer.token, now=now)
                await self._own_acts.record_code(session, request, accepted, viewer.user_id, now=now)
        return accepted is not None

    async def _is_right_password(self, request: Request, viewer: Viewer, proof: str) -> bool:
        """Whether this is the person's password; the session remembers it."""
        async with self._parts.database.reading() as session:
            found = await users.check_password(session, email=viewer.email, password=proof)
        if found is None or found.user_id != viewer.user_id:
            return False
        async with self._parts.database.transaction() as session:
            await factors.mark_proved(session, token=viewer.token, now=await self._parts.database.now(session))
        return True

    async def _page(
        self,
        request: Request,
        viewer: Viewer,
        sensitive: Sensitive,
        fields: Mapping[str, str],
        *,
        now: datetime,
        is_wrong: bool = False,
    ) -> Response:
        path, back = request.url.path, sensitive.page.format_map(request.path_params)
        seconds = int(PROOF_LIFETIME.total_seconds())
        values: Values = {
            "viewer": viewer,
            "act": sensitive.act,
            "action": path,
            "back": back,
            "held": self._sessions.carry_fields(fields, viewer=viewer, path=path, now=now, seconds=seconds),
            "kind": await self._kind(viewer),
            "is_wrong": is_wrong,
        }
        return self._pages.page("proof.html", values, status=422 if is_wrong else 200)

    async def _kind(self, viewer: Viewer) -> str:
        """What the person can prove himself by: code, password, issuer, or a new link."""
        async with self._parts.database.reading() as session:
            if await factors.has_totp(session, viewer.user_id):
                return "code"
            if viewer.has_password:
                return "password"
            issuer = self._parts.issuer
            if issuer is not None and await has_identity(session, issuer=issuer.url, user_id=viewer.user_id):
                return "issuer"
        return "link"


def is_fresh(proved_at: datetime | None, now: datetime) -> bool:
    """Whether a proof of then still counts."""
    return proved_at is not None and now - proved_at < PROOF_LIFETIME
