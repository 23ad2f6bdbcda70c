"""HEAD is answered like GET without the body on every GET route: uptime monitors send it."""

import re

import httpx
import pytest

from api.app import create_app
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.serving import parts_on, routes_of, serving

# They differ between two equal requests.
VOLATILE = {"request-id", "date", "set-cookie", "content-length"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_head_is_answered_like_get_on_every_get_route(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    app = create_app(parts_on(database, sealer))
    paths = {re.sub(r"\{\w+\}", "some", path) for method, path in routes_of(app) if method == "GET"}
    async with serving(app) as client:
        client.headers["Authorization"] = f"Bearer {project.api_key}"
        for path in sorted(paths):
            got, headed = await client.get(path), await client.head(path)

            assert headed.content == b"", path
            assert headed.status_code == got.status_code, path
            assert _lasting(headed) == _lasting(got), path
            assert "content-length" in headed.headers, path
        served = [(await client.head(path)).status_code for path in ("/livez", "/docs", "/login")]

    assert len(paths) > 30
    assert {"/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/api/v1/events"} <= paths
    assert served == [200, 200, 200]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_head_of_a_path_without_get_is_not_allowed(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        paths = ("/api/v1/receipt", "/v1/result", "/logout")
        refused = [await client.head(path) for path in paths]
        wrong_method = await client.delete("/livez")

    assert [answer.status_code for answer in refused] == [405] * 3
    assert [answer.headers["Allow"] for answer in refused] == ["POST"] * 3
    assert {answer.content for answer in refused} == {b""}
    assert wrong_method.headers["Allow"] == "GET, HEAD"


def _lasting(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in VOLATILE}
