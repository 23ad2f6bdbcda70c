"""Who is looking: the session cookie, the form tokens and the one-time notice. Never reads a password; `sign_in` does.

A signed-in form carries an HMAC of the session's token. Before sign-in there is no session, so the form and a cookie carry the
same random text (double submit).
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.parts import ConsoleParts
from api.console.rendering import HEADERS
from api.console.sealed import NOTICE_SECONDS, ConsoleKeys, Notice
from domain.ids import UserId
from store import users

SESSION_SECONDS = 14 * 86_400
FORM_TYPE = "application/x-www-form-urlencoded"
MAXIMUM_FORM_FIELDS = 50


class SignInNeeded(Exception):
    """Nobody is signed in: the visitor is sent to the sign-in page."""


class FormRejected(Exception):
    """The form could not be read, or its token is missing or of another session; nothing was changed. Open the page again and
    repeat."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The signed-in person; `token` is the session's secret and stays in this process."""

    user_id: UserId
    email: str
    has_password: bool
    token: str
    form_token: str


class Sessions:
    """Reads and writes the console's cookies; made once per process."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts
        self._keys = ConsoleKeys(parts.secret_key, parts.previous_secret_key)
        self._secure = parts.public_url.startswith("https://")
        prefix = "__Host-" if self._secure else ""
        self._session_cookie = f"{prefix}makegood_session"
        self._form_cookie = f"{prefix}makegood_form"
        self._notice_cookie = f"{prefix}makegood_notice"

    async def viewer(self, request: Request) -> Viewer:
        """The signed-in person. Raises: SignInNeeded."""
        token = request.cookies.get(self._session_cookie, "")
        if not token:
            raise SignInNeeded
        async with self._parts.database.reading() as session:
            found = await users.read_session(session, token=token, now=await self._parts.database.now(session))
        if found is None:
            raise SignInNeeded
        return Viewer(found.user_id, found.email or "", found.has_password, token, self._keys.form_token(token))

    async def form(self, request: Request, viewer: Viewer) -> dict[str, str]:
        """The form's fields once its token was found right. Raises: FormRejected."""
        fields = await read_fields(request)
        if not self._keys.is_form_token(fields.pop("form_token", ""), session_token=viewer.token):
            raise FormRejected
        return fields

    async def early_form(self, request: Request) -> dict[str, str]:
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
