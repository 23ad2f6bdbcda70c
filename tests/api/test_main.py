"""The API as a separate process: it does not identify itself, and it stops in order."""

import asyncio
import signal
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from socket import create_connection

import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.console.sign_in.oidc_provider import OidcClient
from api.main import app_settings, issuer_transport
from config.settings import Settings
from egress.transport import ExchangeFailed
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.migrate import migrate
from store.projects.projects import create_project
from tests.api.serving import parts_on, serving
from tests.conftest import SECRET_KEY
from tests.support.processes import free_ports, python, running
from tests.support.waiting import wait_until


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/livez", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: str(number.name)
)
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
        wait_until(
            lambda: is_up(address) or program.process.poll() is not None,
            seconds=30,
            what="the API serves",
        )
        answer = httpx.get(f"{address}/livez")
        program.process.send_signal(number)

        assert program.ended(seconds=15) == 0, program.output
        assert "server" not in answer.headers
        assert program.output == ""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda one: str(one.name))
def test_second_signal_cuts_no_request_off(tmp_path: Path, second: signal.Signals) -> None:
    (port,) = free_ports(1)
    migrate(f"sqlite:///{tmp_path / 'makegood.db'}")
    settings = {
        "MAKEGOOD_DATA_DIR": str(tmp_path),
        "MAKEGOOD_SECRET_KEY": SECRET_KEY,
        "MAKEGOOD_PORT": str(port),
    }
    head = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    with running(*python("-m", "cli.main", "api"), environment=settings) as program:
        program.wait_for("Uvicorn running on", seconds=30)
        with create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head)
            wait_until(lambda: is_up(f"http://127.0.0.1:{port}"), what="the request is read")
            program.process.send_signal(signal.SIGTERM)
            program.wait_for("Shutting down")
            program.process.send_signal(second)
            connection.sendall(b"x")
            answer = connection.recv(65_536)

        assert program.ended(seconds=15) == 0, program.output
        assert answer.startswith(b"HTTP/1.1 4")
        assert "Application shutdown complete" in program.output


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


def test_secret_key_that_the_store_was_not_sealed_with_ends_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'makegood.db'}"
    migrate(url)
    asyncio.run(with_a_project(url))
    settings = {
        "MAKEGOOD_DATA_DIR": str(tmp_path),
        "MAKEGOOD_SECRET_KEY": f"another than {SECRET_KEY}",
        "MAKEGOOD_PORT": str(free_ports(1)[0]),
    }
    for command in ("api", "worker"):
        with running(*python("-m", "cli.main", command), environment=settings) as program:
            assert program.ended(seconds=30) == 1
            assert "secret_key_unknown" in program.output
            assert "MAKEGOOD_SECRET_KEY_PREVIOUS" in program.output


async def with_a_project(url: str) -> None:
    database = Database.open(url)
    async with database.transaction() as session:
        await create_project(
            session,
            Sealer(SECRET_KEY),
            name="shop",
            livemode=False,
            now=await database.now(session),
        )
    await database.close()


async def test_every_request_to_the_identity_provider_goes_through_the_guard() -> None:
    settings = Settings(oidc_issuer="http://127.0.0.1:9", oidc_client_id="makegood")
    transport = issuer_transport(settings)
    assert transport is not None

    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        with pytest.raises(ExchangeFailed) as refused:
            await client.get("http://127.0.0.1:9/.well-known/openid-configuration")

    assert refused.value.log_reason == "refused_address"
    assert issuer_transport(Settings()) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_settings_of_sign_in_reach_the_console(database: Database, sealer: Sealer) -> None:
    configured = Settings(
        oidc_issuer="https://id.example.com",
        oidc_client_id="makegood",
        oidc_client_secret=SecretStr("s3cret"),
        trusted_proxies=("10.0.0.0/8",),  # type: ignore[arg-type]  # read as the environment has it
    )
    settings = app_settings(configured, secret_key=SECRET_KEY)
    parts = parts_on(database, sealer, oidc=settings.oidc)

    async with serving(
        create_app(replace(parts, issuer_transport=issuer_transport(configured)))
    ) as client:
        page = await client.get("/login")

    assert settings.oidc == OidcClient("https://id.example.com", "makegood", "s3cret")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert "Sign in with id.example.com" in page.text
    assert "s3cret" not in f"{settings!r}"
