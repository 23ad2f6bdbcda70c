"""The migrations create exactly the tables of `store.schema.tables`, on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from store.db.database import Database, dialect_of
from store.migrate import migrate
from store.revisions import migration_state
from store.schema import tables
from tests.support.postgres import Postgres

SCHEMA = {
    "sqlite": "SELECT type, name, tbl_name, sql FROM sqlite_master "
    "WHERE tbl_name NOT LIKE 'alembic%'",
    "postgresql": (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM "
        "information_schema.columns "
        "WHERE table_schema = 'public' AND table_name NOT LIKE 'alembic%' "
        "UNION ALL SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes "
        "WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%' "
        "UNION ALL SELECT tgrelid::regclass::text, tgname, "
        "pg_get_triggerdef(pg_trigger.oid), prosrc, '' "
        "FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid WHERE NOT tgisinternal"
    ),
}


async def schema_of(url: str, *, made_from_tables: bool = False) -> list[tuple[str, ...]]:
    """What the database says of its tables, columns and indexes; spelling, quotes and order of DDL
    apart.
    """
    dialect = dialect_of(url)
    async_engine = create_async_engine(
        url.replace("://", "+aiosqlite://" if dialect == "sqlite" else "+asyncpg://")
    )
    async with async_engine.begin() as connection:
        if made_from_tables:
            await connection.run_sync(tables.Project.metadata.create_all)
        rows = (await connection.execute(text(SCHEMA[dialect]))).all()
    await async_engine.dispose()
    return sorted(
        tuple(" ".join(str(value).replace('"', "").split()) for value in row) for row in rows
    )


async def test_the_migrations_make_the_tables_of_the_code_on_sqlite(
    sqlite_url: str, tmp_path: Path
) -> None:
    expected = await schema_of(f"sqlite:///{tmp_path / 'expected.db'}", made_from_tables=True)

    migrated = await schema_of(sqlite_url)

    assert migrated == expected
    made = {row[2] for row in migrated if row[0] == "table"} - {"sqlite_sequence"}
    of_fts5 = {name for name in made if name.startswith("search_trigrams")}
    assert of_fts5 >= {"search_trigrams", "search_trigrams_data"}
    assert made - of_fts5 == set(SQLModel.metadata.tables)


async def test_the_migrations_make_the_tables_of_the_code_on_postgresql(
    postgres_url: str, postgres: Postgres
) -> None:
    name = postgres.create()
    expected = await schema_of(postgres.url(name), made_from_tables=True)

    migrated = await schema_of(postgres_url)

    assert migrated == expected
    postgres.drop(name)


def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = migration_state(database_url)

    migrate(database_url)

    assert migration_state(database_url) == before
    assert before[0] == before[1]


def test_an_empty_store_has_no_revision_and_is_not_made_by_asking(tmp_path: Path) -> None:
    path = tmp_path / "makegood.db"

    current, head = migration_state(f"sqlite:///{path}")

    assert (current, bool(head), path.exists()) == (None, True, False)


def test_several_may_migrate_at_once(postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.create()
    for url in (f"sqlite:///{tmp_path / 'makegood.db'}", postgres.url(name)):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(migrate, [url] * 4))

        current, head = migration_state(url)

        assert current == head
    postgres.drop(name)


def test_missing_server_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        migrate(f"postgresql://nobody@/none?host={tmp_path}")


def test_missing_database_is_an_os_error(postgres: Postgres) -> None:
    with pytest.raises(OSError):
        migrate(postgres.url("there_is_none"))


async def test_a_socket_url_opens(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()

    host_and_port, _, name = postgres_url.removeprefix("postgresql://postgres@").partition("/")
    host, _, port = host_and_port.partition(":")
    database = Database.open(f"postgresql://postgres@/{name}?host={host}&port={port}")
    async with database.reading() as session:
        assert await session.scalar(text("SELECT 1")) == 1
    await database.close()
