"""A real `makegood api` process on a SQLite store of its own, for commands that speak HTTP. No
worker runs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cli.makegood import Makegood
from tests.support.processes import Program, free_ports, python, running
from tests.support.waiting import wait_until


@contextmanager
def running_api(directory: Path, **settings: str) -> Iterator[Makegood]:
    """The command line on the API's own settings, while the API runs; keywords are further
    variables of both.
    """
    port = free_ports(1)[0]
    environment: Mapping[str, str] = {
        "MAKEGOOD_DATA_DIR": str(directory),
        "MAKEGOOD_PORT": str(port),
        "MAKEGOOD_SECRET_KEY": "a root secret for the tests of the command line",
        **settings,
    }
    makegood = Makegood(environment)
    assert makegood("migrate").code == 0
    with running(*python("-m", "cli.main", "api"), environment=environment) as program:
        wait_until(lambda: _is_alive(port, program), seconds=30, what="the API answers")
        yield makegood


def _is_alive(port: int, program: Program) -> bool:
    assert program.process.poll() is None, program.output
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
