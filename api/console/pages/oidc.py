"""Signing in through the identity provider, and proving oneself there again. Lets in known people alone.

What the answer is compared with is kept by the very browser that was sent there, sealed; an answer that another browser brings,
or that comes a second time, is refused. The reason is logged; a visitor is told only what he can do about it.
"""

from dataclasses import asdict, replace
from datetime import datetime

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.base import Console
from api.console.sign_in.cookies import Notice
from api.console.sign_in.login_attempts import Try
from api.console.sign_in.oidc_provider import AuthorizationRequest, IssuerFailed, OidcProvider, VerifiedIdentity
from api.console.sign_in.sessions import safe_return
from api.console.ui.rendering import HEADERS
from domain.audit import AuditAction
from domain.errors import NotFound
from domain.ids import UserId
from domain.users import User
from store.people import second_factor as factors
from store.people.identities import adopt_identity, find_identity

logger = structlog.get_logger(__name__)

ASKED = "oidc"
ASKED_SECONDS = 600
# How much the provider's clock may differ from ours when it says since when somebody is signed in there.
CLOCK_SECONDS = 60


class OidcPages:
    """The way to the provider and back."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts = console.parts
        self._sessions = console.sessions
        self._entrance = console.entrance
        self._tries = console.entrance.tries
        self._own_acts = console.own_acts

    async def begin(self, request: Request) -> Response:
        """On to the provider. With `back`, somebody who is signed in proves himself anew and returns there."""
        issuer, now = self._issuer(), await self._now()
        again = "back" in request.query_params
        user_id = (await self._console.viewer(request)).user_id if again else ""
        try:
            url, asked = await issuer.begin(now=now, anew=again)
        except IssuerFailed as failure:
            return self._refused(failure, "It does not answer as it should. Try again, or sign in another way.")
        back = safe_return(request.query_params, otherwise="/incidents")
        kept = {**asdict(asked), "back": back, "user_id": user_id, "at": now.timestamp()}
        response = RedirectResponse(url, status_code=303, headers=HEADERS)
        return self._sessions.keep_state(response, ASKED, kept, now=now, seconds=ASKED_SECONDS)

    async def finish(self, request: Request) -> Response:
        """Back from the provider."""
        issuer, now = self._issuer(), await self._now()
        kept = self._sessions.state(request, ASKED, now=now)
        again = kept is not None and kept["user_id"]
        one = self._tries.to_prove(request, UserId(again), by="oidc") if again else self._tries.with_issuer(request)
        await self._tries.begin(one)
        if kept is None:
            await self._tries.record_failure(one)
            return self._refused(IssuerFailed("no answer was waited for"), "Too much time has passed. Begin again.")
        asked = AuthorizationRequest(kept["state"], kept["nonce"], kept["code_verifier"])
        try:
            vouched = await issuer.finish(dict(request.query_params), asked, now=now)
        except IssuerFailed as failure:
            await self._tries.record_failure(one)
            return self._refused(failure, "It did not say in a way that can be trusted who you are. Begin again.")
        user = await self._user(request, issuer, vouched, is_known=bool(again))
        if again:
            response = await self._prove(request, one, user, vouched, asked_at=kept["at"], back=kept["back"])
        elif user is None:
            await self._tries.record_failure(replace(one, email=vouched.email))
            response = self._unknown(issuer)
        else:
            await self._tries.was_right(one)
            response = await self._entrance.admit(request, user, to="/incidents", by="oidc")
        return self._sessions.drop_state(response, ASKED)

    async def _user(self, request: Request, issuer: OidcProvider, vouched: VerifiedIdentity, *, is_known: bool) -> User | None:
        """Whom the provider means. Only a sign-in makes an address somebody's: who proves himself must be known by it already."""
        async with self._parts.database.transaction() as session:
            found = await find_identity(session, issuer=issuer.url, subject=vouched.subject)
            if found is not None or is_known or vouched.email is None:
                return found
            now = await self._parts.database.now(session)
            user = await adopt_identity(session, issuer=issuer.url, subject=vouched.subject, email=vouched.email, now=now)
            if user is not None:
                await self._own_acts.record(session, request, AuditAction.IDENTITY_LINKED, user.user_id, now=now)
        return user

    async def _prove(
        self, request: Request, one: Try, user: User | None, vouched: VerifiedIdentity, *, asked_at: float, back: str
    ) -> Response:
        viewer = await self._console.viewer(request)
        is_new = vouched.authenticated_at is not None and vouched.authenticated_at >= asked_at - CLOCK_SECONDS
        if user is None or user.user_id != viewer.user_id or not is_new:
            await self._tries.record_failure(one)
            failure = IssuerFailed("nobody, somebody else, or an old sign-in was vouched for")
            return self._refused(failure, "It did not confirm that you, who are signed in here, signed in there just now.")
        await self._tries.was_right(one)
        async with self._parts.database.transaction() as session:
            await factors.mark_proved(session, token=viewer.token, now=await self._parts.database.now(session))
        return self._sessions.redirect(back, viewer=viewer, notice=Notice("good", "Thank you. Now send the form again."))

    def _issuer(self) -> OidcProvider:
        if self._parts.issuer is None:
            raise NotFound("This installation has no identity provider: MAKEGOOD_OIDC_ISSUER names one.")
        return self._parts.issuer

    async def _now(self) -> datetime:
        async with self._parts.database.reading() as session:
            return await self._parts.database.now(session)

    def _unknown(self, issuer: OidcProvider) -> Response:
        detail = (
            f"{issuer.host} knows you, this installation does not: nobody here has your address, or it is not verified there. "
            "Ask whoever runs it for an account with the same address."
        )
        values = {"title": "You have no account here", "detail": detail}
        return self._console.pages.page("problem.html", values, status=403)

    def _refused(self, failure: IssuerFailed, detail: str) -> Response:
        logger.warning("identity provider refused", reason=str(failure)[:300])
        values = {"title": "The identity provider did not sign you in", "detail": detail}
        response = self._console.pages.page("problem.html", values, status=403)
        return self._sessions.drop_state(response, ASKED)
