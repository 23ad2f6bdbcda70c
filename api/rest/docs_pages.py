"""Serves `/openapi.json` and the pages of `/docs`: the API reference and the error pages.

The reference is `api.rest.reference_page`. The error pages are plain HTML without scripts, fonts or
external files, so that the strictest content security policy applies.
"""

import html
from base64 import b64encode
from hashlib import sha256

from fastapi import APIRouter
from starlette.responses import HTMLResponse, JSONResponse, Response

from api.http.problems import PROBLEM_TYPES, ProblemType
from api.rest.reference_page import POLICY, STATIC_PATH, read_reference_page
from domain.errors import Code, NotFound
from operations.validation import Json

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f27;--soft:#5c6573;--line:#dfe3e9;--ground:#fff;
--mark:#0b6b4f}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa4b2;--line:#2b313b;
--ground:#14171c;--mark:#4cc9a0}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 5rem}h1{font-size:1.9rem;margin:0 0 .5rem}
h2{margin:3rem 0 .5rem}code{font:.875em/1.5 ui-monospace,monospace}
table{border-collapse:collapse;width:100%;margin:.75rem 0}th,td{text-align:left;
vertical-align:top;padding:.45rem .75rem .45rem 0;
border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600;font-size:.85rem}
a{color:var(--mark)}.soft{color:var(--soft)}
td:first-child{white-space:nowrap}
"""
# The policy allows this style by its hash, and no other style.
STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
ERROR_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{STYLE_HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
ERROR_HEADERS = {"Content-Security-Policy": ERROR_POLICY}


def docs_router(document: Json) -> APIRouter:
    """The routes of the document and its pages, which are rendered once."""
    router = APIRouter(include_in_schema=False)
    reference = read_reference_page()
    error_codes = _page("Error codes", _error_codes())

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(document)

    @router.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(reference.html, headers={"Content-Security-Policy": POLICY})

    @router.get(STATIC_PATH + "/{name}")
    async def script(name: str) -> Response:
        """The script of the reference. Its name changes with its content."""
        if name != reference.script_name:
            raise NotFound("This file does not exist. See /docs.")
        return Response(
            reference.script,
            media_type="text/javascript",
            headers={"Cache-Control": "public, max-age=31536000, immutable"},
        )

    @router.get("/docs/errors")
    async def error_list() -> Response:
        return HTMLResponse(error_codes, headers=ERROR_HEADERS)

    @router.get("/docs/errors/{code}")
    async def error_page(code: str) -> Response:
        """The page that an error's `type` links to."""
        if code not in set(Code):
            raise NotFound("This error code does not exist. See /docs/errors for all codes.")
        page = _page(code, _error(Code(code), PROBLEM_TYPES[Code(code)]))
        return HTMLResponse(page, headers=ERROR_HEADERS)

    return router


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(title)} · Makegood</title>"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )


def _error(code: Code, problem_type: ProblemType) -> str:
    again = (
        "may succeed later"
        if problem_type.is_retryable
        else "will be refused again, unless the response has <code>Retry-After</code>"
    )
    return (
        f'<p class="soft"><a href="/docs">API reference</a></p><h1><code>{code.value}</code></h1>'
        f'<p class="soft">{problem_type.status} · {_text(problem_type.title)}</p>'
        f"<h2>What happened</h2><p>{_prose(problem_type.cause)}</p>"
        f"<h2>What to do</h2><p>{_prose(problem_type.remedy)}</p>"
        f"<p>The same request {again}.</p>"
    )


def _error_codes() -> str:
    rows = "".join(
        f'<tr><td><a href="/docs/errors/{code.value}"><code>{code.value}</code></a></td>'
        f"<td>{problem_type.status}</td><td>{_prose(problem_type.cause)}</td></tr>"
        for code, problem_type in PROBLEM_TYPES.items()
    )
    return (
        '<p class="soft"><a href="/docs">API reference</a></p><h1>Error codes</h1>'
        f"<table><tr><th>Code</th><th>Status</th><th>When</th></tr>{rows}</table>"
    )


def _prose(text: str) -> str:
    """The escaped text, with backticks as code and asterisks as emphasis."""
    for mark, tag in (("`", "code"), ("*", "em")):
        parts = (text if mark == "*" else _text(text)).split(mark)
        text = "".join(
            part if index % 2 == 0 else f"<{tag}>{part}</{tag}>" for index, part in enumerate(parts)
        )
    return text


def _text(text: str) -> str:
    return html.escape(str(text))
