"""REST: saved views are shared by the keys of a project; who saved one, or an admin, removes it."""

from typing import Any

import pytest

from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.api_keys import create_key
from tests.api.serving import Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def with_scopes(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject, *scopes: Scope
) -> Caller:
    async with database.transaction() as session:
        _, key = await create_key(
            session,
            sealer,
            project_id=project.project.id,
            label="another",
            scopes=frozenset(scopes),
            now=await database.now(session),
        )
    return caller.with_key(key)


async def saved(caller: Caller, name: str, **fields: Any) -> str:
    answer = await caller.ask("POST", "/views", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_view_is_saved_listed_replaced_and_removed(caller: Caller) -> None:
    await saved(caller, "Seats", q="error:seat")
    view_id = await saved(
        caller, "Seats", q='error:seat_limit_reached "two words"', sort="-amount", state="resolved"
    )

    (view,) = (await caller.ask("GET", "/views")).json()["data"]
    found = await caller.ask("GET", "/incidents", params={"q": view["q"], "sort": view["sort"]})
    removed = await caller.ask("DELETE", f"/views/{view_id}")

    assert (view["id"], view["name"], view["state"]) == (view_id, "Seats", "resolved")
    assert view["q"] == 'error:seat_limit_reached "two words"'
    assert found.status_code == 200
    assert removed.json() == {"id": view_id, "removed": True}
    assert (await caller.ask("GET", "/views")).json()["data"] == []
    assert (await caller.ask("DELETE", f"/views/{view_id}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"q": "is:open"}, "/name"),
        ({"name": " "}, "/name"),
        ({"name": "x", "q": "effet:x"}, "/q"),
        ({"name": "x", "sort": "name"}, "/sort"),
        ({"name": "x", "state": "all of them"}, "/state"),
    ],
)
async def test_wrong_view_is_refused(caller: Caller, body: dict[str, str], pointer: str) -> None:
    answer = await caller.ask("POST", "/views", json=body)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_another_key_removes_a_view_with_the_scope_admin_alone(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    view_id = await saved(caller, "Seats")
    of = (database, sealer, project)
    reader = await with_scopes(caller, *of, Scope.READ)
    operator = await with_scopes(caller, *of, Scope.READ, Scope.OPERATE)
    admin = await with_scopes(caller, *of, Scope.OPERATE, Scope.ADMIN)

    assert (await reader.ask("POST", "/views", json={"name": "x"})).status_code == 403
    assert len((await reader.ask("GET", "/views")).json()["data"]) == 1
    for key, status in ((reader, 403), (operator, 403), (admin, 200)):
        assert (await key.ask("DELETE", f"/views/{view_id}")).status_code == status
