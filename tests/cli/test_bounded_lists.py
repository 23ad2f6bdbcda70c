"""More projects and people than a list holds: the commands say so, and a project beyond is found by
its name and id.
"""

from sqlalchemy import insert

from store.db.database import Database
from store.db.paging import LISTED_AT_MOST
from store.people import users
from store.projects import data_keys
from tests.cli.makegood import Makegood
from tests.support.given import START


async def test_lists_end_visibly_and_a_project_beyond_is_found(
    makegood: Makegood, database: Database
) -> None:
    made = makegood("project", "create", "shop", "--mode", "test", "--json").json
    short = makegood("project", "list")
    async with database.transaction() as session:
        row = (await session.execute(data_keys.PROJECTS.select())).one()
        copies = [
            {**row._mapping, "id": f"prj_f{n:031x}", "name": f"copy {n}"}
            for n in range(LISTED_AT_MOST)
        ]
        people = [{"id": f"usr_f{n:031x}", "created_at": START} for n in range(LISTED_AT_MOST)]
        await session.execute(insert(data_keys.PROJECTS), copies)
        await session.execute(insert(users.USERS), people)

    listed, listed_people = makegood("project", "list"), makegood("user", "list")
    found = [
        makegood("project", "show", name, "--json").json["project_id"]
        for name in ("shop", made["project_id"])
    ]

    assert short.err == ""
    assert (
        listed.err == "This list shows the newest 1,000 projects. Find older ones by name or id.\n"
    )
    assert (
        listed_people.err
        == "This list shows the newest 1,000 users. Find older ones by name or id.\n"
    )
    assert made["project_id"] not in listed.out
    assert found == [made["project_id"]] * 2
    assert makegood("project", "show", "nothing").code == 3
    assert makegood("project", "show", "no\udcffthing").code == 3
