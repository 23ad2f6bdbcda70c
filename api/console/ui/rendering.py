"""Renders templates and static files into responses with the console's security headers.

A self-updating page has a region. htmx requests it alone (header `HX-Request`) and sends the hash
of the content that it shows as `seen`. An unchanged region is answered with 204, which htmx
ignores.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from api.console.ui import destination_labels, labels, source_labels
from api.console.ui.event.long_text import clamped
from domain.values.amounts import format_amount, in_major_units
from domain.values.text import readable
from domain.wording.dates import UTC_DATES
from domain.wording.harm import harm_of, harm_title

HERE = Path(__file__).parent.parent
STATIC = HERE / "static"
# Version and hash of `dist/htmx.min.js` as npm publishes it. The browser refuses any other file.
HTMX = "htmx-4.0.1.min.js"
HTMX_INTEGRITY = "sha384-Qp9rdC8H7EqOoX+nR0P3RPG2Noji+qdwJlGpfzwQJsfOpp3sGwIdSP9xO3+UlEhn"
MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; frame-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "HX-Request",
}

Values = Mapping[str, object]


class Pages:
    """Templates and static files, read once per process."""

    def __init__(
        self, now: Callable[[], datetime], *, path_prefix: str = "", passkey_origin: str = ""
    ) -> None:
        """Links of templates begin with `path_prefix`, which they know as `base`.

        `passkey_origin` is where passkeys work; empty if nowhere.
        """
        self._base = path_prefix
        self._static = {
            path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES
        }
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_sanitize,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            base=path_prefix,
            passkey_origin=passkey_origin,
            static=self._static_url,
            htmx_file=HTMX,
            htmx_integrity=HTMX_INTEGRITY,
            labels=labels,
            source_labels=source_labels,
            destination_labels=destination_labels,
            harm_of=harm_of,
            harm_title=harm_title,
            clamped=clamped,
            prose=prose,
            format_amount=format_amount,
            in_major_units=in_major_units,
            age_of=lambda at: labels.age(at, now()),
            time_left=lambda until: labels.time_left(until, now()),
            lag_of=lambda source: source_labels.listing_lag(source, now()),
        )

    def page(self, template: str, values: Values, *, status: int = 200) -> Response:
        """A complete page."""
        return HTMLResponse(
            self._render(template, values),
            status_code=status,
            headers=HEADERS,
        )

    def region(self, template: str, values: Values) -> Markup:
        """A self-updating region, followed by a hidden field with the hash of its content."""
        content = self._render(template, values)
        seen = sha256(content.encode()).hexdigest()[:24]
        # Safe: the template has escaped its values, and the hash is hexadecimal.
        return Markup(content + f'\n<input type="hidden" name="seen" value="{seen}">')  # noqa: S704

    def _render(self, template: str, values: Values) -> str:
        """Templates know as `dates` how the viewer sees times: in UTC if nobody is signed in."""
        dates = getattr(values.get("viewer"), "dates", UTC_DATES)
        return self._templates.get_template(template).render({"dates": dates, **values})

    def page_or_region(
        self, request: Request, *, page: str, region: str, values: Values, status: int = 200
    ) -> Response:
        """The page. For htmx only its region, or 204 if the region has not changed."""
        rendered = self.region(region, values)
        if not is_htmx_request(request):
            return self.page(page, {**values, "region": rendered}, status=status)
        return self.fragment(request, rendered)

    def fragment(self, request: Request, rendered: Markup) -> Response:
        """The rendered region, or 204 if the browser already shows it."""
        seen = request.query_params.get("seen", "")
        if seen and f'name="seen" value="{seen}"' in rendered[-80:]:
            return Response(status_code=204, headers=HEADERS)
        return HTMLResponse(str(rendered), headers=HEADERS)

    def static_file(self, name: str, *, version: str) -> Response:
        """A static file. It is cached forever if the request names its version."""
        content = self._static.get(name)
        if content is None:
            return Response(status_code=404, headers=HEADERS)
        cache_control = (
            "public, max-age=31536000, immutable" if version == _version(content) else "no-cache"
        )
        media_type = MEDIA_TYPES[Path(name).suffix]
        return Response(content, media_type=media_type, headers={"Cache-Control": cache_control})

    def _static_url(self, name: str) -> str:
        return f"{self._base}/static/{name}?v={_version(self._static[name])}"


def passkey_prompt(options: str) -> Response:
    """Options of a passkey's prompt, for `passkeys.js`."""
    return Response(options, media_type="application/json", headers=HEADERS)


def passkey_refused(problem: str) -> Response:
    """A prompt that is not possible, with the text for the person."""
    return JSONResponse({"problem": problem}, status_code=422, headers=HEADERS)


def prose(text: str) -> Markup:
    """A message as HTML. What its writer put between backticks is code."""
    parts = readable(text).split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner is a character
        parts[-2:] = ["`".join(parts[-2:])]
    pieces = (
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )
    return Markup("").join(pieces)


def _sanitize(value: object) -> object:
    """Remove control and bidi characters and lone surrogates from a value.

    Applied to every value.
    """
    return readable(value) if type(value) is str else value


def is_htmx_request(request: Request) -> bool:
    return request.headers.get("HX-Request") == "true"


def _version(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]
