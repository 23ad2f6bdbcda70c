"""What is compressed: public files, docs and JSON of REST; never a page with a form token."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api.app import create_app
from domain.audit import Actor
from domain.projects import CreatedProject
from operations.people.composition import People
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.serving import Caller, parts_on, receipt, routes_of, serving

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
async def client(
    database: Database, sealer: Sealer, project: CreatedProject
) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(parts_on(database, sealer))) as client:
        client.headers["Authorization"] = f"Bearer {project.api_key}"
        yield client


@pytest.mark.parametrize(
    "path",
    ["/static/console.css", "/docs", "/docs/errors/not_found", "/openapi.json", "/metrics"],
)
async def test_public_text_is_compressed(client: httpx.AsyncClient, path: str) -> None:
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    answer = await client.get(path, headers=GZIP)

    assert (plain.status_code, plain.headers.get("Content-Encoding")) == (200, None)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert int(answer.headers["Content-Length"]) < len(plain.content) / 1.5
    assert path == "/metrics" or answer.content == plain.content


async def test_list_is_compressed_above_one_kibibyte(
    client: httpx.AsyncClient, project: CreatedProject
) -> None:
    caller = Caller(client, project.api_key)
    short = await caller.ask("GET", "/events", headers=GZIP)
    for _ in range(5):
        await caller.accept()

    long = await caller.ask("GET", "/events", headers=GZIP)
    headed = await caller.ask("HEAD", "/events", headers=GZIP)

    assert "Content-Encoding" not in short.headers
    assert long.headers["Content-Encoding"] == headed.headers["Content-Encoding"] == "gzip"
    assert len(long.json()["data"]) == 5
    assert headed.content == b""


@pytest.mark.parametrize(
    "accepted", ["", "br", "gzip;q=0", "br, GZIP ; q=0.0", "gzip;q=0, *", "*;q=0", "br, *;q=0.000"]
)
async def test_client_that_does_not_accept_gzip_gets_plain_text(
    client: httpx.AsyncClient, accepted: str
) -> None:
    answer = await client.get("/docs", headers={"Accept-Encoding": accepted})

    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "accepted",
    ["GZIP", "*", "br, *;q=0.1", "br;q=1.0, Gzip ; q=0.5", "*;q=0, gzip", "identity;q=0, *"],
)
async def test_client_that_accepts_gzip_in_any_spelling_gets_it(
    client: httpx.AsyncClient, accepted: str
) -> None:
    answer = await client.get("/docs", headers={"Accept-Encoding": accepted})

    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"


async def test_answers_of_ingest_are_never_compressed(
    client: httpx.AsyncClient, project: CreatedProject
) -> None:
    caller = Caller(client, project.api_key)
    wrong = {"provider": "x" * 300, "event_type": 1, "effect_type": 2, "occurred_at": 3}

    accepted = await caller.send("receipt", receipt(), headers=GZIP)
    refused = await caller.send("receipt", wrong, headers=GZIP)

    assert (accepted.status_code, refused.status_code) == (202, 422)
    assert "Content-Encoding" not in accepted.headers
    assert len(refused.content) > 1024
    assert "Content-Encoding" not in refused.headers


async def test_no_page_with_a_form_token_is_compressed(
    database: Database, sealer: Sealer, client: httpx.AsyncClient, project: CreatedProject
) -> None:
    people = People.build(database, sealer)
    token = await people.accounts.create_link(None, actor=Actor("cli:test"))
    page = await client.get("/login/link", params={"token": token})
    form_token = page.text.partition('name="form_token" value="')[2].partition('"')[0]
    form = {"token": token, "form_token": form_token}
    assert (await client.post("/login/link", data=form)).status_code == 303
    routes = routes_of(create_app(parts_on(database, sealer)))
    paths = [path for method, path in routes if method == "GET" and "{" not in path]
    paths.append(f"/projects/{project.project.id}")

    answers = {path: await client.get(path, headers=GZIP) for path in paths}

    with_token = [path for path, answer in answers.items() if "form_token" in answer.text]
    encoded = [path for path, answer in answers.items() if "Content-Encoding" in answer.headers]
    assert {"/incidents", "/events", "/projects", f"/projects/{project.project.id}"} <= set(
        with_token
    )
    rest = {"/api/v1/overview"}
    assert set(encoded) == {"/docs", "/docs/errors", "/openapi.json", "/metrics"} | rest
    assert not set(encoded) & set(with_token)
