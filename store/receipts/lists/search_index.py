"""Keeps the trigram index of receipts' texts, which `store.receipts.lists.search` reads.

1. `search_texts` holds the texts of a receipt. On SQLite its triggers keep an FTS5 table with
   trigrams; on PostgreSQL it has a GIN index of them.
2. A worker loop copies the texts a minute after a receipt was accepted, in batches. In the
   transaction of ingest the index would cost a fifth of its rate (decision 0040).
3. `search_progress` holds how far each project is, in its receipts and in its incidents. An
   incident's texts are those of its receipt with its error. Later ones are searched without the
   index.
4. A file of SQLite may have been made by one with FTS5, and be opened by one without. Searches then
   do without the index. Before such a SQLite deletes a text, or at its worker's next turn, the
   index is emptied and its triggers are dropped. `makegood migrate` with FTS5 makes it again.

Nothing here commits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.ids import ProjectId
from domain.values.timestamps import to_unix_ms
from store.db.sql import Dialect, Statements
from store.receipts.lists.texts import ERROR_TEXT

SHORTEST_INDEXED = 3
MOST_TRIGRAMS = 4
MOST_TRIGRAMS_COUNTED = 60
BATCH = 500
# Longer than any transaction that accepts receipts, and than the clocks of two servers differ: a
# receipt that commits later with an older `accepted_at` would never be indexed.
SETTLED_AFTER = timedelta(seconds=60)

FIX_SEARCH_INDEX = (
    "run `makegood migrate`, on SQLite with a Python whose SQLite has FTS5 with trigrams (3.34 or"
    " newer)"
)

# On SQLite: the triggers exist, and so does the module of the table ("USING fts5(").
_HAS_TRIGRAMS = {
    "sqlite": """
SELECT 1 FROM sqlite_master AS made CROSS JOIN pragma_module_list AS module
WHERE made.name = 'search_trigrams' AND instr(made.sql, ' USING ' || module.name || '(') > 0
  AND (SELECT 1 FROM sqlite_master WHERE name = 'search_texts_removed') IS NOT NULL""",
    "postgresql": (
        "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('search_texts_trigrams')"
        " AND indisvalid"
    ),
}
_HAS_TRIGGERS = "SELECT 1 FROM sqlite_master WHERE name = 'search_texts_removed'"
# A table whose module is missing cannot be dropped. Its parts are ordinary tables.
_EMPTY_INDEX = (
    "DROP TRIGGER search_texts_added",
    "DROP TRIGGER search_texts_removed",
    # Without its first records FTS5 could not even drop the table.
    "DELETE FROM search_trigrams_data WHERE id > 10",
    "DELETE FROM search_trigrams_idx",
    "DELETE FROM search_texts",
    "DELETE FROM search_progress",
)
_OF_IDS = {
    "sqlite": "(SELECT value FROM json_each($1))",
    "postgresql": "(SELECT json_array_elements_text(CAST($1 AS json)))",
}
# Not EXISTS, which PostgreSQL turns into a join that reads all receipts.
# The deletion of a project waits for the batch, and then finds its texts.
_LOCK_LIVING = {
    "sqlite": "SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL",
    "postgresql": "SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
}
_TO_INDEX = """
SELECT p.id, COALESCE(s.{until_at}, -1), COALESCE(s.{until_id}, '')
FROM projects AS p LEFT JOIN search_progress AS s ON s.project_id = p.id
WHERE p.deleted_at IS NULL AND (SELECT 1 FROM {table} AS r WHERE r.project_id = p.id
  AND (r.{at}, r.{id}) > (COALESCE(s.{until_at}, -1), COALESCE(s.{until_id}, ''))
  AND r.{at} < $1 ORDER BY r.{at}, r.{id} LIMIT 1) IS NOT NULL
ORDER BY p.id"""
_NEXT = """
SELECT event_id, {at}, {id} FROM {table}
WHERE project_id = $1 AND ({at}, {id}) > ($2, $3) AND {at} < $4
ORDER BY {at}, {id} LIMIT $5"""
_COPY = """
INSERT INTO search_texts (event_id, project_id, text)
SELECT event_id, project_id, internal_reference || {newline} || provider_event_id
  || COALESCE({newline} || customer_reference, '') || {newline} || request_id
  || COALESCE((SELECT {newline} || {error} FROM incidents AS s WHERE s.event_id = t.event_id), '')
FROM receipts AS t
WHERE event_id IN {ids} ORDER BY accepted_at, event_id ON CONFLICT (event_id) DO NOTHING"""
# An expected event gets the texts of its receipt, which comes later; a receipt those of its
# incident.
_FORGET = "DELETE FROM search_texts WHERE event_id IN {ids}"
_NEWLINE = {"sqlite": "char(10)", "postgresql": "chr(10)"}
_ADVANCE = """
INSERT INTO search_progress (project_id, until_at, until_id, incidents_until_at, incidents_until_id)
VALUES ($1, {values})
ON CONFLICT (project_id) DO UPDATE
SET {until_at} = excluded.{until_at}, {until_id} = excluded.{until_id}
WHERE (search_progress.{until_at}, search_progress.{until_id})
  < (excluded.{until_at}, excluded.{until_id})"""
_LIMITS = """
SELECT project_id, until_at, incidents_until_at FROM search_progress WHERE project_id IN """
_RESET_PROGRESS = (
    "UPDATE search_progress SET {until_at} = $1, {until_id} = '' WHERE {until_at} > $1"
)


@dataclass(frozen=True, slots=True)
class Indexed:
    """What is copied in which order, and the columns of `search_progress` that hold how far."""

    table: str
    at: str
    id: str
    until_at: str
    until_id: str
    # Of a project that was not indexed: the instants and ids of receipts, then of incidents.
    first_values: str

    def named(self, sql: str) -> str:
        """The statement with the names of the table and of the columns."""
        return sql.format(
            table=self.table,
            at=self.at,
            id=self.id,
            until_at=self.until_at,
            until_id=self.until_id,
            values=self.first_values,
        )


RECEIPTS = Indexed("receipts", "accepted_at", "event_id", "until_at", "until_id", "$2, $3, -1, ''")
INCIDENTS = Indexed(
    *("incidents", "opened_at", "id", "incidents_until_at", "incidents_until_id"),
    "-1, '', $2, $3",
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the index holds the receipts or incidents of a project: up to this instant and id."""

    project_id: ProjectId
    until_at_ms: int
    until_id: str
    of: Indexed = RECEIPTS


async def has_trigrams(st: Statements) -> bool:
    """Whether this store has a trigram index."""
    return bool(await st.fetch(_HAS_TRIGRAMS[st.dialect]))


async def is_unusable(st: Statements) -> bool:
    """Whether SQLite has the index and not its module: each write to `search_texts` would fail."""
    if st.dialect == "postgresql" or await has_trigrams(st):
        return False
    return bool(await st.fetch(_HAS_TRIGGERS))


async def empty_unusable_index(st: Statements) -> bool:
    """Empty an index without its module, so that texts can be deleted; returns whether it was."""
    if not await is_unusable(st):
        return False
    for statement in _EMPTY_INDEX:
        await st.fetch(statement)
    return True


def trigram_query(dialect: Dialect, q: str, texts: Sequence[str]) -> str:
    """The rarest trigrams of a text of three characters or more: a query of FTS5, or a JSON array.

    The rarest are those of the fewest `texts`. The index reads every row of each trigram, and a few
    rare ones leave few rows.
    """
    lowered = [one.lower() for one in texts]
    trigrams = list(dict.fromkeys(q[start : start + 3] for start in range(len(q) - 2)))
    # Of those as rare as each other the last: ids and references differ at their end.
    trigrams = trigrams[:MOST_TRIGRAMS_COUNTED][::-1]
    trigrams.sort(key=lambda trigram: sum(trigram.lower() in one for one in lowered))
    rarest = trigrams[:MOST_TRIGRAMS]
    if dialect == "postgresql":
        return json.dumps(rarest)
    return " AND ".join('"{}"'.format(one.replace('"', '""')) for one in rarest)


async def search_limits(
    st: Statements, scope: Sequence[ProjectId]
) -> list[tuple[ProjectId, int, int]]:
    """From which instants on, in Unix milliseconds, the receipts and the incidents of each project
    are not indexed.
    """
    sql = (
        "SELECT project_id, until_at, incidents_until_at FROM search_progress WHERE project_id IN "
    )
    rows = await st.fetch(sql + _OF_IDS[st.dialect], json.dumps(scope))
    until = {row[0]: (row[1], row[2]) for row in rows}
    return [(project_id, *until.get(project_id, (0, 0))) for project_id in scope]


async def projects_behind(st: Statements, now: datetime) -> list[Progress]:
    """The projects with receipts, or incidents, to be indexed now, each read from its own index."""
    behind: list[Progress] = []
    for of in (RECEIPTS, INCIDENTS):
        rows = await st.fetch(of.named(_TO_INDEX), _settled_ms(now))
        behind += [Progress(ProjectId(row[0]), row[1], row[2], of) for row in rows]
    return behind


async def index_batch(
    st: Statements, progress: Progress, now: datetime, *, limit: int = BATCH
) -> Progress | None:
    """Index the next receipts or incidents of a project; returns how far it is then.

    None if there are none, or if the project was deleted. Twice, or in two workers, it changes
    nothing more.
    """
    if not await st.fetch(_LOCK_LIVING[st.dialect], progress.project_id):
        return None
    of, position = progress.of, (progress.until_at_ms, progress.until_id)
    rows = await st.fetch(of.named(_NEXT), progress.project_id, *position, _settled_ms(now), limit)
    if not rows:
        return None
    ids, event_ids = _OF_IDS[st.dialect], json.dumps([row[0] for row in rows])
    await st.fetch(_FORGET.format(ids=ids), event_ids)
    error = ERROR_TEXT[st.dialect].format("s")
    await st.fetch(_COPY.format(newline=_NEWLINE[st.dialect], ids=ids, error=error), event_ids)
    _, last_at_ms, last_id = rows[-1]
    await st.fetch(of.named(_ADVANCE), progress.project_id, last_at_ms, last_id)
    return Progress(progress.project_id, last_at_ms, last_id, of)


async def follow_clock(st: Statements, now: datetime) -> None:
    """Go back after the clock was set back, so that receipts accepted since are indexed too."""
    for of in (RECEIPTS, INCIDENTS):
        await st.fetch(of.named(_RESET_PROGRESS), _settled_ms(now))


def _settled_ms(now: datetime) -> int:
    return to_unix_ms(now - SETTLED_AFTER)
