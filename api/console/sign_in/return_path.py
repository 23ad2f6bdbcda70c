"""The page to which a visitor returns: after signing in, and after a form.

Alerts link to the page of an event. A visitor without a session is redirected to the sign-in page,
whose address names that page as `back`. Only paths of this site are accepted.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from api.console.sign_in.cookies import StateCookie
from api.console.ui.rendering import is_htmx_request
from api.http.path_prefix import prefix_of

SIGN_IN = "/login"
FIRST_PAGE = "/incidents"
# A part of each page, which pages fetch alone.
NAVIGATION = "/rail"
# Sign-in keeps the path in an encrypted cookie. Browsers accept cookies of up to 4 KiB.
MAXIMUM_CHARACTERS = 800
# Keeps the page while the visitor gets a one-time link, whose address does not name it.
RETURN_PAGE = StateCookie("return_page", seconds=3_600)


def safe_return_path(
    fields: Mapping[str, str], *, prefix: str, name: str = "back", otherwise: str = FIRST_PAGE
) -> str:
    """The path in the field `name` if it leads to this site. `otherwise` if not.

    It has no prefix: what a person copied from the browser loses the `prefix` of this site.
    """
    back = fields.get(name, "")
    if prefix and back.startswith((f"{prefix}/", f"{prefix}?")):
        back = back.removeprefix(prefix)
    is_ours = back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable()
    return back if is_ours and len(back) <= MAXIMUM_CHARACTERS else otherwise


def sign_in_path(request: Request, *, public_url: str) -> str:
    """The address of the sign-in page that leads back to the page of this request."""
    page = safe_return_path({"back": _page_of(request, public_url)}, prefix=prefix_of(public_url))
    if page in ("/", FIRST_PAGE) or page.startswith((SIGN_IN, NAVIGATION)):
        return SIGN_IN
    return f"{SIGN_IN}?back={quote(page, safe='/')}"


def _page_of(request: Request, public_url: str) -> str:
    """The path of the page that the browser shows. Empty if it is unknown.

    An update of a page names the page in `HX-Current-URL`, and a form in `Referer`.
    """
    if is_htmx_request(request):
        return _own_path(request, public_url, request.headers.get("HX-Current-URL", ""))
    if request.method != "GET":
        return _own_path(request, public_url, request.headers.get("Referer", ""))
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _own_path(request: Request, public_url: str, url: str) -> str:
    """Path and query of a URL of this site, without the prefix. Empty for another site."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    own_hosts = (request.headers.get("Host", "").lower(), urlsplit(public_url).netloc.lower())
    if parts.netloc.lower() not in own_hosts:
        return ""
    path = parts.path.removeprefix(prefix_of(public_url))
    return f"{path}?{parts.query}" if parts.query else path
