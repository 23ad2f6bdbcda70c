"""An export has every row of its list, page by page, and no cell that a spreadsheet would run."""

import csv
import io
import json

import pytest

from domain.errors import ValidationFailed
from domain.projects import CreatedProject
from operations.composition import Operations
from operations.listing import export
from operations.listing.export import COLUMNS, FORMULA_STARTS, ExportFormat, defused
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.receipts.queries import ListFilters
from tests.api.serving import judge_shape
from tests.support.given import Story

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def operations(database: Database, sealer: Sealer) -> Operations:
    return Operations.build(database=database, sealer=sealer, judge_repair_url=judge_shape)


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)


async def exported(
    operations: Operations, form: ExportFormat, filters: ListFilters, sort: str | None = None
) -> list[bytes]:
    parts = await operations.exports.export_incidents(filters, form, sort=sort)
    return [part async for part in parts]


@on_sqlite
async def test_export_streams_every_row_in_order(
    operations: Operations, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    ids = []
    for number in range(7):
        _, incident_id = await story.opened(
            internal_reference=f"=order {number}", amount=1_000 + number, currency="EUR"
        )
        ids.append(incident_id)
        story.later(seconds=1)
    filters = ListFilters(story.project.id, q='"=order"')

    lines = await exported(operations, ExportFormat.JSONL, filters, "-amount")
    table = await exported(operations, ExportFormat.CSV, filters, "opened_at")

    assert len(lines) == len(table) == 3  # pages, each in memory alone
    records = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert [record["id"] for record in records] == ids[::-1]
    assert records[0]["amount"] == 1_006
    assert records[0]["internal_reference"] == "=order 6"
    header, *rows = csv.reader(io.StringIO(b"".join(table).decode(), newline=""))
    assert tuple(header) == COLUMNS == tuple(records[0])
    assert [row[header.index("id")] for row in rows] == ids
    assert {row[header.index("internal_reference")][0] for row in rows} == {"'"}


@on_sqlite
async def test_export_of_nothing_has_its_header(operations: Operations, story: Story) -> None:
    filters = ListFilters(story.project.id)

    assert await exported(operations, ExportFormat.JSONL, filters) == [b""]
    assert b"".join(await exported(operations, ExportFormat.CSV, filters)).count(b"\r\n") == 1


@on_sqlite
async def test_refused_search_is_refused_before_the_file_begins(
    operations: Operations, story: Story
) -> None:
    with pytest.raises(ValidationFailed):
        await operations.exports.export_incidents(
            ListFilters(story.project.id, q="effet:x"), ExportFormat.CSV
        )


@pytest.mark.parametrize("start", FORMULA_STARTS, ids=ascii)
def test_cell_that_begins_a_formula_is_text(start: str) -> None:
    assert defused(f"{start}1+1") == f"'{start}1+1"
    assert defused(f"a{start}1") == f"a{start}1"


@pytest.mark.parametrize(
    ("value", "cell"), [(None, ""), (True, "true"), (-5, "-5"), ("x", "x"), ("", "")], ids=str
)
def test_other_cells_are_as_they_are(value: object, cell: str) -> None:
    assert defused(value) == cell
