"""A PostgreSQL server with `pg_trgm`, which the server of the other tests does not have.

It is one that is installed on this machine, with the extensions that PostgreSQL brings. A test that
asks for it is skipped where there is none.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.db.database import Database
from store.migrate import migrate
from tests.support.processes import free_ports

BINARIES = Path("/usr/lib/postgresql")
OPTIONS = "-h 127.0.0.1 -p {port} -k '' -c fsync=off -c synchronous_commit=off"


def installed_server() -> Path | None:
    """The folder of the newest installed server; None if there is none."""
    found = sorted(BINARIES.glob("*/bin/postgres"), key=lambda path: path.parts[-3])
    return found[-1].parent if found else None


@contextmanager
def running_installed_server(programs: Path) -> Iterator[str]:
    """Run a server with an empty database; yields the address of the database."""
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="makegood-trigrams-") as directory:
        folder = Path(directory)
        if user is not None:
            shutil.chown(folder, user)
        (port,) = free_ports(1)

        def run(program: str, *arguments: str) -> None:
            command = (str(programs / program), "-D", str(folder / "pgdata"), *arguments)
            subprocess.run(
                command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder, timeout=60
            )

        run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        options = OPTIONS.format(port=port)
        run("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture
async def database_with_trigrams() -> AsyncIterator[Database]:
    """A migrated store on PostgreSQL with `pg_trgm`."""
    programs = installed_server()
    if programs is None:
        pytest.skip("no PostgreSQL with its extensions is installed here")
    with running_installed_server(programs) as url:
        await asyncio.to_thread(migrate, url)
        database = Database.open(url)
        yield database
        await database.close()
