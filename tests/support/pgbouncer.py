"""A real PgBouncer in front of the tests' PostgreSQL."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.processes import free_ports, running

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 500
{user}
"""


def find_pgbouncer() -> str:
    """The program. Skips the test where it is not installed."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    return found


@contextmanager
def running_pgbouncer(postgres: Postgres, database: str, *, mode: str, size: int) -> Iterator[str]:
    """The URL of `database` through a PgBouncer with `size` server connections."""
    program, (port,) = find_pgbouncer(), free_ports(1)
    # As root it becomes another user, who cannot read pytest's own directory.
    user = "user = nobody" if os.geteuid() == 0 else ""
    with tempfile.TemporaryDirectory(prefix="makegood-pgbouncer-") as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "pgbouncer.ini"
        values = {"server_port": postgres.port, "port": port, "mode": mode, "size": size}
        path.write_text(CONFIGURATION.format(user=user, **values))
        with running(program, str(path)) as pgbouncer:
            pgbouncer.wait_for("process up")
            yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
