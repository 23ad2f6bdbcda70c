"""The Makegood that the demo plays on: the one that runs in the data directory comes first."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cli.demo.instance import find_instance
from cli.output import CommandFailed
from cli.up.data_directory import LOCK_NAME
from cli.up.instance_file import announced
from config.settings import Settings
from tests.support.processes import free_ports


@contextmanager
def answering(*statuses: int) -> Iterator[int]:
    """A server that answers each status once, and then the last one; yields its port."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Request-Id", "req_1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def up_in(directory: Path, **settings: Any) -> Iterator[None]:
    """What a `makegood up` leaves in its data directory; this process stands for it."""
    (directory / LOCK_NAME).write_text(str(os.getpid()))
    with announced(Settings(data_dir=directory, **settings)):
        yield


async def test_instance_that_is_starting_is_waited_for(tmp_path: Path) -> None:
    with answering(503, 503, 200) as port, up_in(tmp_path):
        found = await find_instance(Settings(data_dir=tmp_path, port=port))

    assert found is not None
    assert (found.url, found.is_temporary) == (f"http://127.0.0.1:{port}", False)
    assert found.mailbox == tmp_path / "mailbox"


async def test_instance_behind_a_proxy_is_reached_beside_it(tmp_path: Path) -> None:
    with answering(200) as port, up_in(tmp_path):
        settings = Settings(data_dir=tmp_path, port=port, public_url="https://pay.example/makegood")
        found = await find_instance(settings)

    assert found is not None
    assert found.url == f"http://127.0.0.1:{port}"
    assert found.settings.public_url_or_default == "https://pay.example/makegood"


async def test_mails_of_an_instance_with_a_mail_server_are_not_expected(tmp_path: Path) -> None:
    smtp = SecretStr("smtp://ops:hunter2@mail.example")
    with answering(200) as port, up_in(tmp_path, smtp_url=smtp):
        # The command does not know the address: it is a secret.
        found = await find_instance(Settings(data_dir=tmp_path, port=port))

    assert found is not None
    assert found.mailbox is None


async def test_instance_that_does_not_become_ready_is_named(tmp_path: Path) -> None:
    with (
        answering(503) as port,
        up_in(tmp_path),
        pytest.raises(CommandFailed, match=r"was not ready within 0\.3 s: run `makegood doctor`"),
    ):
        await find_instance(Settings(data_dir=tmp_path, port=port), ready_seconds=0.3)


@pytest.mark.parametrize("status", [200, 503])
async def test_without_an_instance_here_the_public_url_is_asked_once(
    tmp_path: Path, status: int
) -> None:
    with answering(status) as port:
        found = await find_instance(Settings(data_dir=tmp_path, port=port))

    assert (found is not None) == (status == 200)


async def test_nothing_runs(tmp_path: Path) -> None:
    assert await find_instance(Settings(data_dir=tmp_path, port=free_ports(1)[0])) is None
