"""Turns a template and its values into a response with the console's security headers; decides nothing about the content.

A page that updates itself has a region whose template is rendered alone when htmx asks (`HX-Request`). The region carries the
hash of its own content; htmx sends it back as `seen`, and an unchanged region is answered 204, which htmx does not swap.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.console.ui import labels as wording
from domain.values.text import readable

HERE = Path(__file__).parent.parent
STATIC = HERE / "static"
# Version and hash as npm publishes them (`dist/htmx.min.js` of htmx.org); the browser refuses another file.
HTMX = "htmx-4.0.1.min.js"
HTMX_INTEGRITY = "sha384-Qp9rdC8H7EqOoX+nR0P3RPG2Noji+qdwJlGpfzwQJsfOpp3sGwIdSP9xO3+UlEhn"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "HX-Request",
}

Values = Mapping[str, object]


class Pages:
    """The templates and static files, read once."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._static = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES}
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            static=self._static_url,
            htmx_file=HTMX,
            htmx_integrity=HTMX_INTEGRITY,
            wording=wording,
            since=lambda text: wording.since(text, now()),
            until=lambda text: wording.until(text, now()),
        )

    def page(self, template: str, values: Values, *, status: int = 200) -> Response:
        """A whole page."""
        return HTMLResponse(self._templates.get_template(template).render(values), status_code=status, headers=HEADERS)

    def region(self, template: str, values: Values) -> Markup:
        """One self-updating region: its content and, hidden, the hash of it."""
        content = self._templates.get_template(template).render(values)
        seen = sha256(content.encode()).hexdigest()[:24]
        # Both parts are ours: the template escaped its values, the hash is hexadecimal.
        return Markup(content + f'\n<input type="hidden" name="seen" value="{seen}">')  # noqa: S704

    def answer(self, request: Request, *, page: str, region: str, values: Values) -> Response:
        """The whole page, or for htmx its region alone, or 204 when htmx has seen exactly this region."""
        fresh = self.region(region, values)
        if not asked_by_htmx(request):
            return self.page(page, {**values, "region": fresh})
        return self.fragment(request, fresh)

    def fragment(self, request: Request, fresh: Markup) -> Response:
        """The region, or 204 when the asker has it already."""
        seen = request.query_params.get("seen", "")
        if seen and f'name="seen" value="{seen}"' in fresh[-80:]:
            return Response(status_code=204, headers=HEADERS)
        return HTMLResponse(str(fresh), headers=HEADERS)

    def static_file(self, name: str, *, version: str) -> Response:
        """A static file; kept by the browser for ever when asked for by its version."""
        content = self._static.get(name)
        if content is None:
            return Response(status_code=404, headers=HEADERS)
        kept = "public, max-age=31536000, immutable" if version == _version(content) else "no-cache"
        media_type = MEDIA_TYPES[Path(name).suffix]
        return Response(content, media_type=media_type, headers={"Cache-Control": kept})

    def _static_url(self, name: str) -> str:
        return f"/static/{name}?v={_version(self._static[name])}"


def _shown(value: object) -> object:
    """Every value of every template: no control, no bidi character, and no half of a pair, which no page can hold."""
    return readable(value) if type(value) is str else value


def asked_by_htmx(request: Request) -> bool:
    return request.headers.get("HX-Request") == "true"


def _version(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]
