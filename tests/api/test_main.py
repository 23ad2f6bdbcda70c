"""The API as a process of its own: it says nothing about itself, and stops in order when it is told to."""

import signal
from pathlib import Path

import httpx
import pytest

from store.migrating import migrate
from tests.conftest import SECRET_KEY
from tests.processes import free_ports, python, running
from tests.waiting import wait_until


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/livez", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: str(number.name))
def test_process_serves_and_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    (port,) = free_ports(1)
    migrate(f"sqlite:///{tmp_path / 'makegood.db'}")
    settings = {
        "MAKEGOOD_DATA_DIR": str(tmp_path),
        "MAKEGOOD_SECRET_KEY": SECRET_KEY,
        "MAKEGOOD_PORT": str(port),
        "MAKEGOOD_LOG_LEVEL": "warning",
    }
    address = f"http://127.0.0.1:{port}"
    with running(*python("-m", "cli.main", "api"), environment=settings) as program:
        wait_until(lambda: is_up(address) or program.process.poll() is not None, seconds=30, what="the API serves")
        answer = httpx.get(f"{address}/livez")
        program.process.send_signal(number)

        assert program.ended(seconds=15) == 0, program.output
        assert "server" not in answer.headers
        assert program.output == ""


def test_taken_port_ends_the_process_with_an_error(tmp_path: Path) -> None:
    import socket

    migrate(f"sqlite:///{tmp_path / 'makegood.db'}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = {
            "MAKEGOOD_DATA_DIR": str(tmp_path),
            "MAKEGOOD_SECRET_KEY": SECRET_KEY,
            "MAKEGOOD_PORT": str(taken.getsockname()[1]),
        }
        with running(*python("-m", "cli.main", "api"), environment=settings) as program:
            assert program.ended(seconds=30) == 1
            assert "address already in use" in program.output
