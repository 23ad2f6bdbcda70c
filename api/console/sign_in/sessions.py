"""Who is looking: the session cookie, the form tokens and the one-time notice. Never reads a password; `sign_in` does.

A signed-in form carries an HMAC of the session's token. Before sign-in there is no session, so the form and a cookie carry the
same random text (double submit).
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.composition import ConsoleParts
from api.console.sign_in.cookies import NOTICE_SECONDS, ConsoleKeys, Notice
from api.console.ui.rendering import HEADERS, asked_by_htmx
from api.http.client_address import client_address
from domain.errors import Unavailable
from domain.ids import UserId
from domain.users import Access
from store.people import members, sessions
from store.people import second_factor as factors

SESSION_SECONDS = int(sessions.SESSION_LIFETIME.total_seconds())
LONG_AGO = datetime.fromtimestamp(0, UTC)
FORM_TYPE = "application/x-www-form-urlencoded"
MAXIMUM_FORM_FIELDS = 50


class SignInNeeded(Exception):
    """Nobody is signed in: the visitor is sent to the sign-in page."""


class FormRejected(Exception):
    """The form could not be read, is not from this site, or its token is missing or of another session; nothing was changed. Open
    the page again and repeat."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The signed-in person; `token` is the session's secret and stays in this process."""

    user_id: UserId
    email: str
    has_password: bool
    token: str
    form_token: str
    access: Access


class Sessions:
    """Reads and writes the console's cookies; made once per process."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts
        self._keys = ConsoleKeys(parts.secret_key, parts.previous_secret_key, now=parts.now)
        self._secure = parts.public_url.startswith("https://")
        self._prefix = prefix = "__Host-" if self._secure else ""
        self._session_cookie = f"{prefix}makegood_session"
        self._form_cookie = f"{prefix}makegood_form"
        self._notice_cookie = f"{prefix}makegood_notice"

    async def viewer(self, request: Request) -> Viewer:
        """The signed-in person, whose idle time begins anew. Raises: SignInNeeded."""
        token = request.cookies.get(self._session_cookie, "")
        if not token:
            raise SignInNeeded
        async with self._parts.database.reading() as session:
            now = await self._parts.database.now(session)
            found = await sessions.read_session(session, token=token, now=now)
            if found is None:
                raise SignInNeeded
            user, seen_at = found
            access = await members.read_access(session, user.user_id)
        # A page that updates itself is no sign that anyone is there.
        if now - seen_at >= sessions.SEEN_EVERY and not asked_by_htmx(request):
            await self._see(token)
        return Viewer(user.user_id, user.email or "", user.has_password, token, self._keys.form_token(token), access)

    async def open(
        self, session: AsyncSession, request: Request, *, user_id: UserId, now: datetime, proved_at: datetime | None = None
    ) -> str:
        """The token of a new session in this transaction; whatever session the browser had is over.

        `proved_at` is when the person last proved who he is, unless he has just done so.
        """
        if before := request.cookies.get(self._session_cookie):
            await sessions.close_session(session, token=before)
        address = client_address(request, trusted=self._parts.trusted_proxies)
        origin = {"address": "" if address is None else str(address), "user_agent": request.headers.get("User-Agent", "")}
        return await sessions.open_session(session, user_id=user_id, now=now, proved_at=proved_at, **origin)

    async def begin_as(self, request: Request, user_id: UserId, *, proved_at: datetime | None = None) -> str:
        """The token of a new session in a transaction of its own; the response must `begin` it."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            return await self.open(session, request, user_id=user_id, now=now, proved_at=proved_at)

    async def proved_at(self, viewer: Viewer) -> datetime:
        """When the person last proved who he is; long ago for one who never did in this session."""
        async with self._parts.database.reading() as session:
            return await factors.read_proved_at(session, token=viewer.token) or LONG_AGO

    def under(self, viewer: Viewer, token: str) -> Viewer:
        """The same person under another session of his."""
        return replace(viewer, token=token, form_token=self._keys.form_token(token))

    async def form(self, request: Request, viewer: Viewer) -> dict[str, str]:
        """The form's fields once its token was found right. Raises: FormRejected."""
        # What a person sent before he was asked to prove who he is; the form that carried it had the token.
        held: dict[str, str] | None = getattr(request.state, "carried_fields", None)
        if held is not None:
            return dict(held)
        fields = await read_fields(request)
        if not self._keys.is_form_token(fields.pop("form_token", ""), session_token=viewer.token):
            raise FormRejected
        return fields

    async def anonymous_form(self, request: Request) -> dict[str, str]:
        """The fields of a form sent before sign-in. Raises: FormRejected."""
        fields = await read_fields(request)
        cookie = request.cookies.get(self._form_cookie, "")
        if not cookie or not hmac.compare_digest(cookie.encode(), fields.pop("form_token", "").encode()):
            raise FormRejected
        return fields

    def early_form_token(self, request: Request) -> str:
        """The token for a form before sign-in: the cookie's, or a new one."""
        return request.cookies.get(self._form_cookie) or secrets.token_urlsafe(24)

    def keep_early_form_token(self, response: Response, token: str) -> Response:
        self._set(response, self._form_cookie, token, seconds=3_600)
        return response

    def begin(self, response: Response, token: str) -> Response:
        """The response that also signs the browser in."""
        self._set(response, self._session_cookie, token, seconds=SESSION_SECONDS)
        self._drop(response, self._form_cookie)
        return response

    def end(self, response: Response) -> Response:
        self._drop(response, self._session_cookie)
        self._drop(response, self._notice_cookie)
        return response

    def redirect(self, to: str, *, viewer: Viewer | None = None, notice: Notice | None = None) -> Response:
        """303 to a page of ours, which then shows the notice once."""
        response = RedirectResponse(to, status_code=303, headers=HEADERS)
        if viewer is not None and notice is not None:
            sealed = self._keys.seal(notice, session_token=viewer.token)
            self._set(response, self._notice_cookie, sealed, seconds=NOTICE_SECONDS)
        return response

    def notice(self, request: Request, viewer: Viewer) -> Notice | None:
        cookie = request.cookies.get(self._notice_cookie)
        return None if cookie is None else self._keys.unseal(cookie, session_token=viewer.token)

    def forget_notice(self, request: Request, response: Response) -> None:
        """The notice has been shown: the browser drops it."""
        if self._notice_cookie in request.cookies:
            self._drop(response, self._notice_cookie)

    # A state is JSON: its values are of any JSON type.
    def keep_state(self, response: Response, purpose: str, state: Mapping[str, Any], *, now: datetime, seconds: int) -> Response:
        """The browser keeps this, sealed, in a cookie of its own."""
        sealed = self._keys.seal_state(state, purpose=purpose, until=now + timedelta(seconds=seconds))
        self._set(response, f"{self._prefix}makegood_{purpose}", sealed, seconds=seconds)
        return response

    def state(self, request: Request, purpose: str, *, now: datetime) -> dict[str, Any] | None:
        """What the browser kept; None when there is nothing, or it is too old or not ours."""
        cookie = request.cookies.get(f"{self._prefix}makegood_{purpose}", "")
        return self._keys.unseal_state(cookie, purpose=purpose, now=now)

    def drop_state(self, response: Response, purpose: str) -> Response:
        self._drop(response, f"{self._prefix}makegood_{purpose}")
        return response

    def carry_fields(self, fields: Mapping[str, str], *, viewer: Viewer, path: str, now: datetime, seconds: int) -> str:
        """A form's fields, sealed for this session and address, to be carried by the form that asks for a proof."""
        until = now + timedelta(seconds=seconds)
        return self._keys.seal_state(fields, purpose=f"held\0{viewer.token}\0{path}", until=until)

    def carried_fields(self, sealed: str, *, viewer: Viewer, path: str, now: datetime) -> dict[str, str] | None:
        """The fields that were held; None when they are not this session's, of another address or too old."""
        return self._keys.unseal_state(sealed, purpose=f"held\0{viewer.token}\0{path}", now=now)

    async def _see(self, token: str) -> None:
        try:
            async with self._parts.database.transaction() as session:
                await sessions.see_session(session, token=token, now=await self._parts.database.now(session))
        except Unavailable:
            # Pages can be read as long as the store can be, even while it takes no writes.
            return

    def _set(self, response: Response, name: str, value: str, *, seconds: int) -> None:
        response.set_cookie(name, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self._secure, httponly=True, samesite="lax")


async def read_fields(request: Request) -> dict[str, str]:
    """The fields of a form as browsers send ours, without NUL; of a repeated name all values, joined by a space.

    Raises: FormRejected for another media type, or too many fields.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise FormRejected
    text = (await request.body()).decode("utf-8", errors="replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAXIMUM_FORM_FIELDS)
    except ValueError:  # what it raises for too many of them
        raise FormRejected from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        told = value.replace("\0", "")
        fields[name] = f"{fields[name]} {told}" if name in fields else told
    return fields


def safe_return(fields: Mapping[str, str], *, otherwise: str) -> str:
    """Where a form asks to go back to, if that is a path of this site."""
    back = fields.get("back", "")
    is_ours = back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable()
    return back if is_ours else otherwise
