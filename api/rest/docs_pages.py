"""Renders the pages of `/docs`: the API reference from the OpenAPI document, and the error pages.

They are plain HTML without scripts, fonts or external files, so that the strictest content security
policy applies.
"""

import html
import json
from base64 import b64encode
from hashlib import sha256

from fastapi import APIRouter
from starlette.responses import HTMLResponse, JSONResponse, Response

from api.http.problems import PROBLEM_TYPES, ProblemType
from domain.errors import Code, NotFound
from operations.validation import Json

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f27;--soft:#5c6573;--line:#dfe3e9;--ground:#fff;
--tint:#f5f7f9;--mark:#0b6b4f}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa4b2;--line:#2b313b;
--ground:#14171c;--tint:#1c2027;--mark:#4cc9a0}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 5rem}h1{font-size:1.9rem;margin:0 0 .5rem}
h2{margin:3rem 0 .5rem}
h3{margin:2.25rem 0 .25rem;font-size:1.1rem}code,pre{font:.875em/1.5 ui-monospace,monospace}
pre{background:var(--tint);border:1px solid var(--line);border-radius:.5rem;padding:1rem;
overflow-x:auto}
table{border-collapse:collapse;width:100%;margin:.75rem 0}th,td{text-align:left;
vertical-align:top;padding:.45rem .75rem .45rem 0;
border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600;font-size:.85rem}
a{color:var(--mark)}
.method{color:var(--mark);font-weight:700}.soft{color:var(--soft)}
td:first-child{white-space:nowrap}
"""
# The policy allows this style by its hash, and no other style.
STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{STYLE_HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {"Content-Security-Policy": POLICY}


def docs_router(document: Json) -> APIRouter:
    """The routes of the document and its pages, which are rendered once."""
    router = APIRouter(include_in_schema=False)
    reference = _page("API reference", _reference(document))

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(document)

    @router.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(reference, headers=HEADERS)

    @router.get("/docs/errors/{code}")
    async def error_page(code: str) -> Response:
        """The page that an error's `type` links to."""
        if code not in set(Code):
            raise NotFound("This error code does not exist. See /docs for all codes.")
        page = _page(code, _error(Code(code), PROBLEM_TYPES[Code(code)]))
        return HTMLResponse(page, headers=HEADERS)

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


def _reference(document: Json) -> str:
    calls, callbacks = _operations(document["paths"]), _operations(document["webhooks"])
    shapes = sorted(document["components"]["schemas"].items())
    schemas = "".join(_schema(name, schema) for name, schema in shapes)
    errors = "".join(
        f'<tr><td><a href="/docs/errors/{code.value}"><code>{code.value}</code></a></td>'
        f"<td>{problem_type.status}</td><td>{_prose(problem_type.cause)}</td></tr>"
        for code, problem_type in PROBLEM_TYPES.items()
    )
    info = document["info"]
    introduction = "".join(f"<p>{_prose(part)}</p>" for part in info["description"].split("\n\n"))
    return (
        f"<h1>Makegood API</h1>{introduction}"
        f'<p class="soft">Version {_text(info["version"])} · '
        f'<a href="/openapi.json">openapi.json</a></p>'
        f"<h2>Calls</h2>{calls}<h2>What Makegood sends you</h2>{callbacks}"
        f"<h2>Errors</h2><table><tr><th>Code</th><th>Status</th><th>When</th></tr>{errors}</table>"
        f"<h2>Shapes</h2>{schemas}"
    )


def _operations(items: Json) -> str:
    return "".join(
        _operation(path, method, operation)
        for path, item in items.items()
        for method, operation in item.items()
    )


def _operation(path: str, method: str, operation: Json) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return (
        f'<h3 id="{_text(operation["operationId"])}">{_text(operation["summary"])}</h3>'
        f'<p><code><span class="method">{method.upper()}</span> {_text(path)}</code></p>'
        f"<p>{_prose(operation.get('description', ''))}</p>"
        f"{_parameters(operation.get('parameters', []))}"
        + (f"<p>Body: {_type(body['schema'])}</p>" if body else "")
        + "".join(
            _example(name, example["value"]) for name, example in body.get("examples", {}).items()
        )
        + f"<p>Responses:</p>{_responses(operation['responses'])}"
    )


def _parameters(parameters: list[Json]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{_text(one['name'])}</code></td>"
        f"<td>{_text(one['in'])}{', required' if one.get('required') else ''}</td>"
        f"<td>{_type(one['schema'])}</td><td>{_prose(one.get('description', ''))}</td></tr>"
        for one in parameters
    )
    return f"<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>{rows}</table>"


def _responses(responses: Json) -> str:
    """The responses by status. Refusals share one line, because they share one shape."""
    items = []
    for status, response in sorted(responses.items()):
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            items.append(f"<li><code>{_text(status)}</code> {_prose(response['description'])}</li>")
        elif not schema.get("$ref", "").endswith("/Problem"):
            items.append(f"<li><code>{_text(status)}</code> {_type(schema)}</li>")
    statuses = [status for status in sorted(responses) if status[0] in "45" and status.isdigit()]
    if statuses:
        refusals = ", ".join(f"<code>{_text(status)}</code>" for status in statuses)
        items.append(f"<li>{refusals} {_type({'$ref': '#/components/schemas/Problem'})}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _example(name: str, value: Json) -> str:
    return f'<p class="soft">{_text(name)}</p><pre>{_text(json.dumps(value, indent=2))}</pre>'


def _schema(name: str, schema: Json) -> str:
    heading = f'<h3 id="{_text(name)}">{_text(name)}</h3>'
    heading += f"<p>{_prose(schema.get('description', ''))}</p>"
    if "enum" in schema:
        return (
            heading
            + f"<p>{', '.join(f'<code>{_text(value)}</code>' for value in schema['enum'])}</p>"
        )
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{_text(field)}</code></td>"
        f"<td>{_type(shape)}{', required' if field in required else ''}</td>"
        f"<td>{_prose(shape.get('description', ''))}</td></tr>"
        for field, shape in schema.get("properties", {}).items()
    )
    return heading + f"<table><tr><th>Field</th><th>Type</th><th></th></tr>{rows}</table>"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "const" in schema:
        return f"<code>{_text(json.dumps(schema['const']))}</code>"
    return _text(str(schema.get("format") or schema.get("type") or "any"))


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
