"""Triggers that make the audit log append-only: no entry can be changed or deleted.

They stop mistakes and a compromised program. The owner of the database can remove them, but the
hash chain then reveals changes. A migration that recreates one of these tables (SQLite) must
recreate its triggers.
"""

from sqlalchemy import DDL, Table, event

SQLITE = (
    (
        "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END"
    ),
    (
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END"
    ),
    # INSERT OR REPLACE deletes without firing the trigger above.
    (
        "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "
        "WHEN EXISTS (SELECT 1 FROM audit_log WHERE sequence = NEW.sequence OR hash = NEW.hash) "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END"
    ),
    (
        "CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head "
        "BEGIN SELECT RAISE(ABORT, 'the end of the audit log only moves on'); END"
    ),
    (
        "CREATE TRIGGER audit_head_moves_on BEFORE UPDATE ON audit_head WHEN NEW.sequence <="
        " OLD.sequence BEGIN SELECT RAISE(ABORT, 'the end of the audit log only moves on'); END"
    ),
    (
        "CREATE TRIGGER audit_head_no_replace BEFORE INSERT ON audit_head WHEN EXISTS (SELECT 1"
        " FROM audit_head) BEGIN SELECT RAISE(ABORT, 'the end of the audit log only moves on'); END"
    ),
)
POSTGRESQL = (
    (
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append only'; END $$"
    ),
    (
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    ),
    (
        "CREATE TRIGGER audit_head_no_delete BEFORE DELETE OR TRUNCATE ON audit_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    ),
    (
        "CREATE TRIGGER audit_head_moves_on BEFORE UPDATE ON audit_head "
        "FOR EACH ROW WHEN (NEW.sequence <= OLD.sequence) EXECUTE FUNCTION audit_refuse()"
    ),
)


def make_append_only(log: Table, head: Table) -> None:
    """Create the triggers when the tables are created from the code.

    The migration has its own copy of the triggers.
    """
    for table in (log, head):
        for statement in SQLITE:
            if f" ON {table.name} " in statement:
                _after_creation(table, statement, "sqlite")
        for statement in POSTGRESQL:
            # The function comes with the first of the two.
            if f" ON {table.name} " in statement or (table is log and " ON " not in statement):
                _after_creation(table, statement, "postgresql")


def _after_creation(table: Table, statement: str, dialect: str) -> None:
    made = DDL(statement)  # type: ignore[no-untyped-call]  # SQLAlchemy has no annotation there
    event.listen(table, "after_create", made.execute_if(dialect=dialect))
