"""The container health checks: the API over HTTP, the worker by its heartbeat."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.healthcheck import api_problem, worker_problem
from config.settings import Settings
from store.db.database import Database
from store.migrate import migrate
from store.status.heartbeats import write_heartbeat
from tests.support.processes import free_ports, python, running


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path, port=free_ports(1)[0])
    await asyncio.to_thread(migrate, settings.database_url_or_default)
    return settings


async def write_worker_heartbeat(
    settings: Settings, *, process: str, age_seconds: float = 0, **changes: object
) -> None:
    database = Database.open(settings.database_url_or_default)
    async with database.transaction() as session:
        at = datetime.now(UTC) - timedelta(seconds=age_seconds)
        report = {"temporal_reachable": True, "pollers_alive": True, "canary_fresh": True} | changes
        await write_heartbeat(
            session, process=process, role="worker", started_at=at, now=at, report=report
        )
    await database.close()


async def test_worker_that_polls_is_healthy(settings: Settings) -> None:
    await write_worker_heartbeat(settings, process="worker-here-1-abc")

    assert await worker_problem(settings, host_name="here") is None


@pytest.mark.parametrize(
    ("reported", "problem"),
    [
        ({"process": "worker-elsewhere-1-abc"}, "no worker on this host has written a heartbeat"),
        (
            {"process": "worker-here-1-abc", "age_seconds": 60},
            "no worker on this host has written a heartbeat",
        ),
        ({"process": "worker-here-1-abc", "pollers_alive": False}, "polls Temporal"),
        (
            {
                "process": "worker-here-1-abc",
                "pollers_alive": False,
                "temporal_problem": {
                    "kind": "tls",
                    "detail": "no TLS",
                    "fix": "correct TEMPORAL_TLS",
                },
            },
            "can poll Temporal: no TLS; correct TEMPORAL_TLS",
        ),
        ({"process": "worker-here-1-abc", "canary_fresh": False}, "has completed a canary"),
    ],
    ids=["another host's", "silent", "not polling", "refused", "no canary"],
)
async def test_unhealthy_worker_is_reported(
    settings: Settings, reported: dict[str, object], problem: str
) -> None:
    await write_worker_heartbeat(settings, **reported)  # type: ignore[arg-type]  # the table's values fit their names

    assert problem in (await worker_problem(settings, host_name="here") or "")


async def test_store_without_tables_is_reported(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    assert "the database does not answer" in (
        await worker_problem(settings, host_name="here") or ""
    )


async def test_api_that_does_not_answer_is_unhealthy(settings: Settings) -> None:
    assert await api_problem(settings) == f"no API answers on port {settings.port}"


async def test_api_that_answers_livez_with_200_is_healthy(settings: Settings) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(
            b"HTTP/1.1 200 OK\r\n\r\n"
            if line.startswith(b"GET /livez ")
            else b"HTTP/1.1 404 Not Found\r\n\r\n"
        )
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", settings.port):
        assert await api_problem(settings) is None


@pytest.mark.parametrize(
    ("arguments", "code"), [(["worker"], 1), (["api"], 1), ([], 2), (["mailbox"], 2)]
)
def test_command_exits_with_its_code(tmp_path: Path, arguments: list[str], code: int) -> None:
    environment = {"MAKEGOOD_DATA_DIR": str(tmp_path), "MAKEGOOD_PORT": str(free_ports(1)[0])}

    with running(*python("-m", "cli.healthcheck", *arguments), environment=environment) as program:
        assert program.ended() == code, program.output
