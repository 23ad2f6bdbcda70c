"""Sessions of the console: the session cookie, form tokens (CSRF), notices and encrypted state in
cookies.

The form of a signed-in user carries an HMAC of the session's token. Before sign-in there is no
session: the form and a cookie carry the same random text (double submit). Passwords are checked in
`api.console.pages.sign_in`.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.composition import ConsoleDependencies
from api.console.sign_in.cookies import NOTICE_SECONDS, ConsoleKeys, Notice, StateCookie
from api.console.sign_in.forms import FormRejected, parse_form
from api.console.ui.rendering import HEADERS, is_htmx_request
from api.http.client_address import client_address
from api.http.path_prefix import prefix_of
from domain.errors import Unavailable
from domain.ids import UserId
from domain.users import Access
from domain.wording.dates import ReaderDates
from store.people import members, sessions
from store.people import second_factor as factors

SESSION_SECONDS = int(sessions.SESSION_LIFETIME.total_seconds())
LONG_AGO = datetime.fromtimestamp(0, UTC)


class SignInNeeded(Exception):
    """Nobody is signed in. The visitor is redirected to the sign-in page."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The signed-in user. `token` is the secret of the session and is never sent out.

    `proved_at` is the time of the last proof of identity before this request: long ago if there is
    none in this session. `read_at` is the database's time when the session was read. `dates` is how
    the user sees times.
    """

    user_id: UserId
    email: str
    has_password: bool
    token: str
    form_token: str
    access: Access
    proved_at: datetime
    read_at: datetime
    dates: ReaderDates


class Sessions:
    """Reads and writes the console's cookies. Created once per process."""

    def __init__(self, parts: ConsoleDependencies) -> None:
        self._parts = parts
        self._keys = ConsoleKeys(parts.secret_key, parts.previous_secret_key, now=parts.now)
        self._secure = parts.public_url.startswith("https://")
        self._base = prefix_of(parts.public_url)
        self._cookie_prefix = prefix = self._name_prefix()
        self._session_cookie = f"{prefix}makegood_session"
        self._form_cookie = f"{prefix}makegood_form"
        self._notice_cookie = f"{prefix}makegood_notice"

    async def viewer(self, request: Request) -> Viewer:
        """The signed-in user. Restarts the idle timeout. Raises: SignInNeeded."""
        token = request.cookies.get(self._session_cookie, "")
        if not token:
            raise SignInNeeded
        async with self._parts.database.reading() as session:
            now = await self._parts.database.now(session)
            found = await sessions.read_session(session, token=token, now=now)
            if found is None:
                raise SignInNeeded
            user = found.user
            access = await members.read_access(session, user.user_id)
        # A self-updating page is not user activity.
        if now - found.seen_at >= sessions.SEEN_EVERY and not is_htmx_request(request):
            await self._record_activity(token)
        return Viewer(
            user.user_id,
            user.email or "",
            user.has_password,
            token,
            self._keys.form_token(token),
            access,
            found.proved_at or LONG_AGO,
            now,
            found.dates,
        )

    async def open(
        self,
        session: AsyncSession,
        request: Request,
        *,
        user_id: UserId,
        now: datetime,
        proved_at: datetime | None = None,
    ) -> str:
        """Open a session in this transaction and close the browser's previous one. Returns its
        token.

        `proved_at` is the time of the user's last step-up proof. None means now.
        """
        if before := request.cookies.get(self._session_cookie):
            await sessions.close_session(session, token=before)
        address = client_address(request, trusted=self._parts.trusted_proxies)
        origin = {
            "address": "" if address is None else str(address),
            "user_agent": request.headers.get("User-Agent", ""),
        }
        return await sessions.open_session(
            session, user_id=user_id, now=now, proved_at=proved_at, **origin
        )

    async def open_for(
        self, request: Request, user_id: UserId, *, proved_at: datetime | None = None
    ) -> str:
        """Open a session in its own transaction. Pass the token to `set_session`."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            return await self.open(session, request, user_id=user_id, now=now, proved_at=proved_at)

    async def proved_at(self, viewer: Viewer) -> datetime:
        """When the user last confirmed their identity. A time long ago if never in this session."""
        async with self._parts.database.reading() as session:
            return await factors.read_proved_at(session, token=viewer.token) or LONG_AGO

    def with_token(self, viewer: Viewer, token: str) -> Viewer:
        """The viewer as they are in another of their sessions, the one with this token."""
        return replace(viewer, token=token, form_token=self._keys.form_token(token))

    async def form(self, request: Request, viewer: Viewer) -> dict[str, str]:
        """The fields of a form with a valid token. Raises: FormRejected."""
        fields = await parse_form(request)
        if not self._keys.is_form_token(fields.pop("form_token", ""), session_token=viewer.token):
            raise FormRejected
        return fields

    async def anonymous_form(self, request: Request) -> dict[str, str]:
        """The fields of a form sent before sign-in. Raises: FormRejected."""
        fields = await parse_form(request)
        cookie = request.cookies.get(self._form_cookie, "")
        if not cookie or not hmac.compare_digest(
            cookie.encode(), fields.pop("form_token", "").encode()
        ):
            raise FormRejected
        return fields

    def anonymous_form_token(self, request: Request) -> str:
        """The token of a form before sign-in: that of the cookie, or a new one."""
        return request.cookies.get(self._form_cookie) or secrets.token_urlsafe(24)

    def set_anonymous_form_token(self, response: Response, token: str) -> Response:
        self._set(response, self._form_cookie, token, seconds=3_600)
        return response

    def set_session(self, response: Response, token: str) -> Response:
        """Sign the browser in with this response."""
        self._set(response, self._session_cookie, token, seconds=SESSION_SECONDS)
        self._drop(response, self._form_cookie)
        return response

    def clear_session(self, response: Response) -> Response:
        self._drop(response, self._session_cookie)
        self._drop(response, self._notice_cookie)
        return response

    def redirect(
        self, to: str, *, viewer: Viewer | None = None, notice: Notice | None = None
    ) -> Response:
        """Redirect (303) to a path of the console, without prefix. It shows the notice once."""
        response = RedirectResponse(self._base + to, status_code=303, headers=HEADERS)
        if viewer is not None and notice is not None:
            sealed = self._keys.seal(notice, session_token=viewer.token)
            self._set(response, self._notice_cookie, sealed, seconds=NOTICE_SECONDS)
        return response

    def notice(self, request: Request, viewer: Viewer) -> Notice | None:
        cookie = request.cookies.get(self._notice_cookie)
        return None if cookie is None else self._keys.unseal(cookie, session_token=viewer.token)

    def clear_notice(self, request: Request, response: Response) -> None:
        """Delete the cookie of a notice that has been shown."""
        if self._notice_cookie in request.cookies:
            self._drop(response, self._notice_cookie)

    # State is a JSON object: its values are of any JSON type.
    def set_state(
        self, response: Response, cookie: StateCookie, state: Mapping[str, Any], *, now: datetime
    ) -> Response:
        """Store encrypted state in its cookie."""
        sealed = self._keys.seal_state(state, purpose=cookie.purpose, now=now)
        self._set(response, self._state_cookie(cookie), sealed, seconds=cookie.seconds)
        return response

    def read_state(
        self, request: Request, cookie: StateCookie, *, now: datetime
    ) -> dict[str, Any] | None:
        """The state of a cookie. None if it is missing, expired or not authentic."""
        sealed = request.cookies.get(self._state_cookie(cookie), "")
        return self._keys.unseal_state(
            sealed, purpose=cookie.purpose, seconds=cookie.seconds, now=now
        )

    def clear_state(self, response: Response, cookie: StateCookie) -> Response:
        self._drop(response, self._state_cookie(cookie))
        return response

    def seal_fields(
        self, fields: Mapping[str, str], *, viewer: Viewer, path: str, now: datetime
    ) -> str:
        """Encrypt a form's fields for this session and address. The step-up form carries them."""
        return self._keys.seal_state(fields, purpose=_carried(viewer, path), now=now)

    def unseal_fields(
        self, sealed: str, *, viewer: Viewer, path: str, now: datetime, seconds: int
    ) -> dict[str, str] | None:
        """Decrypt carried fields. None if expired, or of another session or address."""
        return self._keys.unseal_state(
            sealed, purpose=_carried(viewer, path), seconds=seconds, now=now
        )

    async def _record_activity(self, token: str) -> None:
        try:
            async with self._parts.database.transaction() as session:
                await sessions.see_session(
                    session, token=token, now=await self._parts.database.now(session)
                )
        except Unavailable:
            # Pages stay readable while the database accepts no writes.
            return

    def _state_cookie(self, cookie: StateCookie) -> str:
        return f"{self._cookie_prefix}makegood_{cookie.purpose}"

    def _name_prefix(self) -> str:
        """The strictest prefix of cookie names that the public URL allows.

        Browsers accept `__Host-` for the path `/` only. Under a path prefix the cookies belong to
        that path: other applications on the host do not receive them.
        """
        if not self._secure:
            return ""
        return "__Secure-" if self._base else "__Host-"

    def _set(self, response: Response, name: str, value: str, *, seconds: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=self._base or "/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(
            name, path=self._base or "/", secure=self._secure, httponly=True, samesite="lax"
        )


def _carried(viewer: Viewer, path: str) -> str:
    """The purpose of fields that a step-up form of this session and address carries."""
    return f"carried\0{viewer.token}\0{path}"
