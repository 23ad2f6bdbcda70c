"""The trigram index of `search_texts`: an FTS5 table with its triggers, or a GIN index.

Both are optional. SQLite may be built without FTS5. On PostgreSQL, `pg_trgm` may not be installed,
or the role may not create it. Then searches go on without the index. `makegood migrate` tries
again each time.
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
# A block with an exception handler is a savepoint. The errors: the extension is not installed (two
# codes, by version), may not be created, or was created by another session meanwhile.
GIN = """
DO $$ BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX IF NOT EXISTS search_texts_trigrams ON search_texts USING gin (text gin_trgm_ops);
EXCEPTION WHEN feature_not_supported OR undefined_file OR insufficient_privilege
  OR undefined_object OR unique_violation THEN NULL;
END $$"""


def make_search_index(connection: Connection) -> None:
    """Create the trigram index if it does not exist and this database can have it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(GIN)
        return
    known = "SELECT 1 FROM sqlite_master WHERE name = 'search_trigrams'"
    if connection.exec_driver_sql(known).first() is not None:
        return
    try:
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
