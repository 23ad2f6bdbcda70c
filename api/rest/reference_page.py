"""The API reference at `/docs`: Redoc draws it in the browser from `/openapi.json`.

Redoc is a single script, vendored as npm publishes it. Its page may run this script, fetch from
this server and start the search worker, and nothing else. Redoc has no option for its footer's
logo, which comes from a foreign server. So the script is served without the logo's address.
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

import orjson

STATIC = Path(__file__).parent / "static"
# Version and hash of `bundles/redoc.standalone.js` as npm publishes it.
REDOC = "redoc-2.5.4.standalone.js"
REDOC_INTEGRITY = "sha384-w447zOpYfw/1Tv/5AK9NfHTlQIqE3RVR6KY62jCyy9zNDgO64cMwGGP1Fj0zJVf5"
STATIC_PATH = "/docs/static"
FOREIGN_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
NO_IMAGE = b"data:,"

STYLE = """
body{margin:0;color:#1b1f27;background:#fff;font:16px/1.55 system-ui,sans-serif}
nav,noscript{display:block;padding:.75rem 1.25rem}a{color:#0b6b4f}
"""
# Redoc's own: the element whose rules it adds by script, which is empty, and its scrollbars.
REDOC_STYLE_HASHES = (
    "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc=",
)
STYLE_HASHES = (
    f"sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}",
    *REDOC_STYLE_HASHES,
)
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src " + " ".join(f"'{one}'" for one in STYLE_HASHES),
        # Redoc's arrows are images in its styles.
        "img-src data:",
        "connect-src 'self'",
        # The search runs in a worker that the script makes from its own text.
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# Fonts of the reader's machine: no font is loaded.
THEME = {
    "colors": {"primary": {"main": "#0b6b4f"}},
    "typography": {
        "fontFamily": "system-ui, sans-serif",
        "headings": {"fontFamily": "system-ui, sans-serif"},
        "code": {"fontFamily": "ui-monospace, monospace"},
    },
}
OPTIONS = {
    "spec-url": "/openapi.json",
    "theme": orjson.dumps(THEME).decode(),
    "hide-schema-titles": "true",
    "path-in-middle-panel": "true",
}


@dataclass(frozen=True, slots=True)
class ReferencePage:
    """The page and its one script. `script_name` contains the hash of the script."""

    html: str
    script_name: str
    script: bytes


def read_reference_page() -> ReferencePage:
    """The page, with the vendored script as it is served."""
    script = (STATIC / REDOC).read_bytes().replace(FOREIGN_LOGO, NO_IMAGE)
    script_name = f"redoc-{sha256(script).hexdigest()[:16]}.js"
    return ReferencePage(_page(script_name), script_name, script)


def _page(script_name: str) -> str:
    options = " ".join(f'{name}="{escape(value)}"' for name, value in OPTIONS.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<title>API reference · Makegood</title>"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>'
        '<nav><a href="/docs/errors">Error codes</a> · '
        '<a href="/openapi.json">openapi.json</a></nav>'
        "<noscript>This page needs JavaScript. Without it, read openapi.json.</noscript>"
        f'<redoc {options}></redoc><script src="{STATIC_PATH}/{script_name}"></script>'
        "</body></html>"
    )
