"""The export of the list of incidents: every row of it, as CSV or as a JSON object a line.

Rows are read page by page, each by a statement of its own, so that an export of any length holds
one page in memory and no connection while its reader is slow. A row that moves in the order of the
list meanwhile may be left out or come twice.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum

from domain.errors import RateLimited, Unavailable
from operations.incidents import IncidentOperations
from operations.responses.incidents import IncidentLine
from operations.validation import Json
from store.db.paging import Page
from store.receipts.queries import IncidentRow, ListFilters

ROWS_AT_ONCE = 200
# The store limits the searches of one caller, who may have a page open beside the export.
TRIES, PAUSE_SECONDS = 20, 0.5
# What a spreadsheet would run as a formula, or drop so that the next character begins the cell.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class ExportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


MEDIA_TYPES = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.JSONL: "application/x-ndjson",
}
FILE_TYPES = tuple(name.partition(";")[0] for name in MEDIA_TYPES.values())
COLUMNS = tuple(IncidentLine.model_fields)


class ExportOperations:
    """Exports of the lists of an opened store."""

    def __init__(self, incidents: IncidentOperations) -> None:
        self._incidents = incidents

    async def export_incidents(
        self,
        filters: ListFilters,
        export_format: ExportFormat,
        *,
        sort: str | None = None,
        asked_by: str | None = None,
    ) -> AsyncIterator[bytes]:
        """The parts of the file, at least one. Its first page is read before this returns.

        `asked_by` is the reader whose searches are limited; None: the project of the filters.

        Raises: ValidationFailed for refused filters; RateLimited, Unavailable. Reading on may raise
            Unavailable, and the file is incomplete then.
        """
        filters = await self._incidents.with_now(filters)
        first = await self._incidents.list_incidents(
            filters, ROWS_AT_ONCE, sort=sort, asked_by=asked_by
        )

        async def parts() -> AsyncIterator[bytes]:
            page, is_first = first, True
            while True:
                yield _written(page, export_format, with_header=is_first)
                is_first = False
                if page.next_cursor is None:
                    return
                page = await self._next(filters, page.next_cursor, sort, asked_by)

        return parts()

    async def _next(
        self, filters: ListFilters, cursor: str, sort: str | None, asked_by: str | None
    ) -> Page[IncidentRow]:
        """The next page. What the store refuses for now is asked for again for some seconds."""
        for tried in range(TRIES):
            try:
                return await self._incidents.list_incidents(
                    filters, ROWS_AT_ONCE, cursor, sort=sort, asked_by=asked_by
                )
            except (RateLimited, Unavailable):
                if tried == TRIES - 1:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")


def attachment(export_format: ExportFormat) -> dict[str, str]:
    """The HTTP header that gives the file its name."""
    name = f"makegood-incidents.{export_format.value}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def defused(value: object) -> str:
    """The text of a cell. One that a spreadsheet would run as a formula begins with `'`."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value}" if value.startswith(FORMULA_STARTS) else value
        case _:
            return str(value)


def _written(page: Page[IncidentRow], export_format: ExportFormat, *, with_header: bool) -> bytes:
    records = [IncidentLine.of_row(row).to_json() for row in page.rows]
    if export_format is ExportFormat.JSONL:
        lines = (json.dumps(record, ensure_ascii=False) for record in records)
        return "".join(f"{line}\n" for line in lines).encode()
    return _csv(records, with_header=with_header)


def _csv(records: Sequence[Json], *, with_header: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if with_header:
        writer.writerow(COLUMNS)
    for record in records:
        writer.writerow([defused(record[name]) for name in COLUMNS])
    return text.getvalue().encode()
