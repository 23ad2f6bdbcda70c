"""A search ignores the case of ASCII letters and of no others, on every store and at every step."""

from collections.abc import Iterator

import pytest

from store.db.database import Database
from store.db.sql import SessionStatements
from store.migrate import migrate
from store.receipts.lists.order import EVENT_LIST, NEWEST_MS, OLDEST_MS, Bounds, Key
from store.receipts.lists.ranges import project_ranges
from store.receipts.lists.search import Search, SearchSteps, search
from store.receipts.lists.search_index import index_batch, projects_behind
from tests.support.given import Story
from tests.support.postgres import Postgres

EVERYTHING = Bounds(OLDEST_MS, Key(NEWEST_MS, ""))
FAR = 1_000_000
# By the step that ends the search.
STEPS = {
    "check": SearchSteps(first=1, before_index=FAR, before_scan=FAR, candidates=0),
    "index": SearchSteps(first=1, before_index=1, before_scan=FAR, candidates=FAR),
    "scan": SearchSteps(first=1, before_index=1, before_scan=1, candidates=0),
}
REFERENCES = (
    *("café order", "CAFÉ ORDER", "x ωmega", "x Ωmega", "İstanbul 7", "istanbul 7"),
    *("ΟΔΟΣ 12", "οδος 12", "οδοσ 12", "straße", "STRASSE"),
)
# The references that each text finds.
FOUND = {
    "café": {"café order"},
    "CAFÉ": {"CAFÉ ORDER"},
    "Café": {"café order"},
    "CAf": {"café order", "CAFÉ ORDER"},
    "é ORDER": {"café order"},
    "É order": {"CAFÉ ORDER"},
    "ωMEGA": {"x ωmega"},
    "Ωmega": {"x Ωmega"},
    "X Ω": {"x Ωmega"},
    "İST": {"İstanbul 7"},
    "İstanbul": {"İstanbul 7"},
    "ISTANBUL": {"istanbul 7"},
    "STANBUL": {"İstanbul 7", "istanbul 7"},
    "ΟΔΟΣ": {"ΟΔΟΣ 12"},
    "ΔΟΣ": {"ΟΔΟΣ 12"},
    "δος": {"οδος 12"},
    "οδοσ": {"οδοσ 12"},
    "straß": {"straße"},
    "strass": {"STRASSE"},
}


@pytest.fixture(params=["sqlite", "postgresql", "postgresql of a locale"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty, migrated database. The locale of the third one lowers all letters."""
    if request.param != "postgresql of a locale":
        fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
        yield request.getfixturevalue(fixture)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create(template="template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
    migrate(postgres.url(name))
    yield postgres.url(name)
    postgres.drop(name)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
async def test_case_of_ascii_letters_alone_is_ignored(
    database: Database, story: Story, steps: SearchSteps
) -> None:
    keys = {await story.receipt(internal_reference=one): one for one in REFERENCES}
    # Checked first, so that the search goes on to its next step.
    story.later(seconds=1)
    for number in range(3):
        await story.receipt(internal_reference=f"none {number}")
    async with database.transaction() as session:
        st = SessionStatements(session)
        (behind,) = await projects_behind(st, await database.now(session))
        await index_batch(st, behind, await database.now(session))
    ranges = project_ranges([story.project.id])

    async with database.reading() as session:
        for q, expected in FOUND.items():
            asked = Search(EVENT_LIST, ranges, EVERYTHING, q, steps)
            found = await search(SessionStatements(session), asked, count=20)
            assert {keys[key.id] for key in found} == expected, q
