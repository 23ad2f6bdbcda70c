"""The security headers of every route, by a table made from the routers. No page has inline
scripts.

An e-mail's frame in the mailbox has another policy: `tests/console/pages/test_mailbox.py`.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.app import Application, create_app
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.serving import parts_on

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TEMPLATES = Path(__file__).parents[3] / "api" / "console" / "templates"
# The paths that a browser may cache.
MAY_BE_KEPT = {"/static/{name}": "files of a version, without anybody's data"}


def addresses(app: Application) -> list[tuple[str, str]]:
    """(method, path) of every route, including the POSTs ahead of the framework."""
    found = [("POST", path) for path in (*app.ingest, "/hooks/{source_id}")]
    for route in app.routes:
        assert isinstance(route, APIRoute), "an address that this test does not know how to call"
        found += [(method, route.path) for method in route.methods or ()]
    assert len(set(found)) == len(found)
    return found


@pytest.fixture
def app(database: Database, sealer: Sealer, tmp_path: Path) -> FastAPI:
    parts = parts_on(
        database, sealer, public_url="https://makegood.example", mailbox_path=tmp_path / "mailbox"
    )
    return create_app(parts)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="https://makegood.example"
    ) as client:
        yield client


def missing(path: str, headers: httpx.Headers) -> list[str]:
    """The security headers that a response lacks."""
    policy = headers["content-security-policy"]
    held = {
        "nosniff": headers.get_list("x-content-type-options") == ["nosniff"],
        "hsts": headers.get_list("strict-transport-security") == ["max-age=31536000"],
        "referrer": headers.get_list("referrer-policy") in (["no-referrer"], ["same-origin"]),
        "frame": headers.get_list("x-frame-options") == ["DENY"],
        "frame policy": "frame-ancestors 'none'" in policy,
        "policy": policy.startswith("default-src 'none'; ") and "unsafe" not in policy,
        "kept": headers.get("cache-control") == "no-store" or path in MAY_BE_KEPT,
    }
    return [name for name, is_held in held.items() if not is_held]


async def test_every_address_has_the_same_strict_security_headers(
    app: Application, client: httpx.AsyncClient
) -> None:
    wrong = {}
    for method, path in addresses(app):
        called = re.sub(
            r"\{name\}", "console.css" if path.startswith("/static") else "none.eml", path
        )
        called = re.sub(r"\{code\}", "unauthorized", called)
        answer = await client.request(method, re.sub(r"\{\w+\}", "none", called))
        if lacks := missing(path, answer.headers):
            wrong[method, path] = (answer.status_code, lacks)

    assert not wrong


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nowhere"), ("PUT", "/login"), ("GET", "/api/v1/receipt")]
)
async def test_unknown_path_gets_the_strict_headers(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code >= 400
    assert missing(path, answer.headers) == []


async def test_without_tls_there_is_no_strict_transport_security(
    database: Database, sealer: Sealer
) -> None:
    transport = httpx.ASGITransport(app=create_app(parts_on(database, sealer)))
    async with httpx.AsyncClient(transport=transport, base_url="http://makegood.example") as client:
        answers = [await client.get("/login"), await client.post("/api/v1/receipt")]

    assert ["strict-transport-security" in answer.headers for answer in answers] == [False, False]


async def test_cookie_alone_is_no_key_to_what_is_not_the_console(
    app: Application, client: httpx.AsyncClient
) -> None:
    """Routes that change something need a key, which browsers do not send, or are console forms
    with a token.
    """
    console = (
        *("/login", "/join", "/logout", "/account", "/instance", "/audit", "/views"),
        *("/incidents", "/groups", "/bulk-repairs", "/events", "/projects"),
    )
    unsafe = [
        (method, path)
        for method, path in addresses(app)
        if method != "GET" and not path.startswith(console)
    ]

    answers = {
        path: (await client.request(method, re.sub(r"\{\w+\}", "x", path))).status_code
        for method, path in unsafe
    }

    # A hook needs the provider's signature instead of a key, and there is no such source.
    assert answers.pop("/hooks/{source_id}") == 404
    # A link of a mail has a signed token instead of a key, and nobody signed this one.
    assert answers.pop("/alerts/unsubscribe/{token}") == 404
    assert answers.pop("/alerts/acknowledge/{token}") == 404
    assert len(answers) > 5
    assert set(answers.values()) == {401}


def test_no_template_has_anything_inline(database_url: str) -> None:
    inline = re.compile(
        r"<style|\sstyle\s*=|\son[a-z]+\s*=\s*[\"']|<script(?![^>]*\ssrc=)|javascript:|hx-on",
        re.IGNORECASE,
    )

    wrong = [
        path.name
        for path in sorted(TEMPLATES.glob("*.html"))
        if inline.search(path.read_text(encoding="utf-8"))
    ]

    assert not wrong
