"""Sign-in and step-up through the identity provider. Only users with an account are signed in.

The browser keeps the secrets of the authorization request in an encrypted cookie. A response from
another browser, or a repeated one, is rejected. The reason is logged. The visitor sees only what to
do next.
"""

from dataclasses import asdict, replace
from datetime import datetime

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.access import ANYONE, RouteSpec
from api.console.base import Console
from api.console.sign_in.cookies import Notice, StateCookie
from api.console.sign_in.login_attempts import LoginAttempt
from api.console.sign_in.oidc_provider import (
    AuthorizationRequest,
    OidcProvider,
    OidcProviderFailed,
    VerifiedIdentity,
)
from api.console.sign_in.return_path import RETURN_PAGE
from api.console.ui.rendering import HEADERS
from domain.audit import AuditAction
from domain.errors import NotFound
from domain.ids import UserId
from domain.users import User
from store.people import second_factor as factors
from store.people.identities import adopt_identity, find_identity

logger = structlog.get_logger(__name__)

AUTHORIZATION = StateCookie("oidc", seconds=600)
# Tolerated difference between the provider's clock and ours in `auth_time`.
CLOCK_SECONDS = 60


class OidcPages:
    """The redirect to the provider and the callback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts = console.parts
        self._sessions = console.sessions
        self._sign_in_flow = console.sign_in_flow
        self._attempts = console.sign_in_flow.attempts
        self._self_service_audit = console.self_service_audit

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/login/oidc", self.begin, ANYONE),
            ("GET", "/login/oidc/callback", self.finish, ANYONE),
        )

    async def begin(self, request: Request) -> Response:
        """Redirect to the provider.

        With `back`, a signed-in user confirms their identity and returns there. Otherwise `to` is
        the page after signing in.
        """
        provider, now = self._provider(), await self._now()
        is_step_up = "back" in request.query_params
        user_id = (await self._sessions.viewer(request)).user_id if is_step_up else ""
        try:
            url, expected = await provider.begin(now=now, force_login=is_step_up)
        except OidcProviderFailed as failure:
            return self._failure_page(
                failure, "It did not respond as expected. Try again, or sign in another way."
            )
        name = "back" if is_step_up else "to"
        back = self._console.return_path(request.query_params, name=name)
        state = {**asdict(expected), "back": back, "user_id": user_id, "at": now.timestamp()}
        response = RedirectResponse(url, status_code=303, headers=HEADERS)
        return self._sessions.set_state(response, AUTHORIZATION, state, now=now)

    async def finish(self, request: Request) -> Response:
        """The callback: the provider has sent the browser back."""
        provider, now = self._provider(), await self._now()
        state = self._sessions.read_state(request, AUTHORIZATION, now=now)
        user_id = "" if state is None else state["user_id"]
        attempt = (
            self._attempts.for_step_up(request, UserId(user_id), by="oidc")
            if user_id
            else self._attempts.by_oidc(request)
        )
        await self._attempts.count(attempt)
        if state is None:
            await self._attempts.record_failure(attempt)
            return self._failure_page(
                OidcProviderFailed("no response was expected"),
                "The sign-in took too long. Start again.",
            )
        expected = AuthorizationRequest(state["state"], state["nonce"], state["code_verifier"])
        try:
            identity = await provider.finish(dict(request.query_params), expected, now=now)
        except OidcProviderFailed as failure:
            await self._attempts.record_failure(attempt)
            return self._failure_page(failure, "Its response could not be verified. Start again.")
        user = await self._user(request, provider, identity, is_step_up=bool(user_id))
        if user_id:
            response = await self._complete_step_up(
                request, attempt, user, identity, asked_at=state["at"], back=state["back"]
            )
        elif user is None:
            await self._attempts.record_failure(replace(attempt, email=identity.email))
            response = self._unknown_identity_page(provider)
        else:
            await self._attempts.record_success(attempt)
            response = await self._sign_in_flow.complete_first_factor(
                request, user, to=state["back"], by="oidc"
            )
            self._sessions.clear_state(response, RETURN_PAGE)
        return self._sessions.clear_state(response, AUTHORIZATION)

    async def _user(
        self,
        request: Request,
        provider: OidcProvider,
        identity: VerifiedIdentity,
        *,
        is_step_up: bool,
    ) -> User | None:
        """The user of a verified identity.

        Only a sign-in links an identity to an account, a step-up does not.
        """
        async with self._parts.database.transaction() as session:
            found = await find_identity(session, issuer=provider.url, subject=identity.subject)
            if found is not None or is_step_up or identity.email is None:
                return found
            now = await self._parts.database.now(session)
            user = await adopt_identity(
                session,
                issuer=provider.url,
                subject=identity.subject,
                email=identity.email,
                now=now,
            )
            if user is not None:
                await self._self_service_audit.record(
                    session, request, AuditAction.IDENTITY_LINKED, user.user_id, now=now
                )
        return user

    async def _complete_step_up(
        self,
        request: Request,
        attempt: LoginAttempt,
        user: User | None,
        identity: VerifiedIdentity,
        *,
        asked_at: float,
        back: str,
    ) -> Response:
        viewer = await self._sessions.viewer(request)
        is_new = (
            identity.authenticated_at is not None
            and identity.authenticated_at >= asked_at - CLOCK_SECONDS
        )
        if user is None or user.user_id != viewer.user_id or not is_new:
            await self._attempts.record_failure(attempt)
            failure = OidcProviderFailed(
                "the identity is unknown or of another user, or its sign-in is old"
            )
            return self._failure_page(
                failure, "It did not confirm a new sign-in of the person who is signed in here."
            )
        await self._attempts.record_success(attempt)
        async with self._parts.database.transaction() as session:
            await factors.mark_proved(
                session, token=viewer.token, now=await self._parts.database.now(session)
            )
        return self._sessions.redirect(
            back, viewer=viewer, notice=Notice("good", "Identity confirmed. Submit the form again.")
        )

    def _provider(self) -> OidcProvider:
        if self._parts.oidc_provider is None:
            raise NotFound(
                "This installation has no identity provider. Set MAKEGOOD_OIDC_ISSUER to use one."
            )
        return self._parts.oidc_provider

    async def _now(self) -> datetime:
        async with self._parts.database.reading() as session:
            return await self._parts.database.now(session)

    def _unknown_identity_page(self, provider: OidcProvider) -> Response:
        detail = (
            f"{provider.host} signed you in, but no account here has your email address, "
            "or the address is not verified there. "
            "Ask an administrator for an account with the same address."
        )
        values = {"title": "You have no account here", "detail": detail}
        return self._console.pages.page("problem.html", values, status=403)

    def _failure_page(self, failure: OidcProviderFailed, detail: str) -> Response:
        logger.warning("identity provider refused", reason=str(failure)[:300])
        values = {"title": "The identity provider did not sign you in", "detail": detail}
        response = self._console.pages.page("problem.html", values, status=403)
        return self._sessions.clear_state(response, AUTHORIZATION)
