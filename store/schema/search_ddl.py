"""The trigram index of `search_texts`: an FTS5 table with its triggers, or a GIN index.

SQLite may be built without FTS5. Then searches go on without the index, and `makegood migrate`
tries again each time. A file that was made with FTS5 may be opened by such a SQLite later: see
`store.receipts.lists.search_index`.

Letters are folded in ASCII only, which every server and SQLite do alike.
"""

from sqlalchemy import Connection, Table, event
from sqlalchemy.exc import OperationalError

FTS5 = (
    (
        "CREATE VIRTUAL TABLE search_trigrams USING fts5(text, content='search_texts', "
        "content_rowid='id', tokenize='trigram', detail='none', columnsize=0)"
    ),
    (
        "CREATE TRIGGER search_texts_added AFTER INSERT ON search_texts "
        "BEGIN INSERT INTO search_trigrams (rowid, text) VALUES (NEW.id, NEW.text); END"
    ),
    # FTS5 finds the entries of a row by its text, so that it must get the same text again.
    (
        "CREATE TRIGGER search_texts_removed AFTER DELETE ON search_texts "
        "BEGIN INSERT INTO search_trigrams (search_trigrams, rowid, text) "
        "VALUES ('delete', OLD.id, OLD.text); END"
    ),
)
# Not `pg_trgm`: not every server has it, not every role may create it, and it leaves out
# punctuation, so that it reads every row of "order-1" for the text "order-order-1". The collation
# "C" compares bytes, and its lower case is that of ASCII letters. Other collations lower a letter
# by its neighbours, such as a final sigma, or make two of one.
GIN = (
    """
CREATE OR REPLACE FUNCTION search_trigrams(text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(DISTINCT substr(l, i, 3) COLLATE pg_catalog."C"), '{}')
  FROM lower($1 COLLATE pg_catalog."C") AS l, generate_series(1, length(l) - 2) AS i
$$""",
    (
        "CREATE INDEX search_texts_trigrams ON search_texts"
        ' USING gin (search_trigrams(text) COLLATE pg_catalog."C")'
    ),
)
# Its triggers are gone after a SQLite without FTS5 wrote to the file. Then it lacks texts.
_INDEX_EXISTS = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'search_texts_removed'",
    "postgresql": "SELECT 1 WHERE to_regclass('search_texts_trigrams') IS NOT NULL",
}


def make_search_index(connection: Connection) -> None:
    """Create the trigram index if it does not exist and this database can have it."""
    dialect = connection.dialect.name
    if connection.exec_driver_sql(_INDEX_EXISTS[dialect]).first() is not None:
        return
    if dialect == "postgresql":
        for statement in GIN:
            connection.exec_driver_sql(statement)
        return
    try:
        connection.exec_driver_sql("DROP TABLE IF EXISTS search_trigrams")
        connection.exec_driver_sql(FTS5[0])
    except OperationalError as error:
        # Built without FTS5, or older than its trigrams (3.34).
        if "no such module" in str(error.orig) or "no such tokenizer" in str(error.orig):
            return
        raise
    for trigger in FTS5[1:]:
        connection.exec_driver_sql(trigger)


def index_with_trigrams(texts: Table) -> None:
    """Create the index when the table is created from the code, as a migration does."""

    @event.listens_for(texts, "after_create")
    def create(_: Table, connection: Connection, **__: object) -> None:
        make_search_index(connection)
