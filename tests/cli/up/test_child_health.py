"""The liveness checks: they fail only for problems that a restart fixes."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from cli.up.child import wait_for_lasting_problem
from cli.up.child_health import (
    DEFAULT_LIMITS,
    LivenessLimits,
    api_liveness,
    judge_worker,
    worker_liveness,
)
from cli.up.probes import speaks_http2
from store.status.heartbeats import Beat
from tests.support.given import START
from tests.support.processes import free_ports

MINE = f"worker-{socket.gethostname()}-{os.getpid()}-abc123"


def beat(*, process: str = MINE, age_seconds: float = 1.0, **report: bool) -> Beat:
    return Beat(
        process=process,
        role="worker",
        started_at=START,
        at=START,
        age_seconds=age_seconds,
        report=dict(report),
    )


@pytest.mark.parametrize(
    ("beats", "problem"),
    [
        ([], None),
        ([beat()], None),
        ([beat(age_seconds=11)], "no heartbeat"),
        ([beat(engine_reachable=True, canary_fresh=False, pollers_alive=False)], None),
        ([beat(process="worker-elsewhere-1-abc", age_seconds=60)], None),
        (
            [beat(process=f"worker-{socket.gethostname()}-1-abc"), beat(age_seconds=11)],
            "no heartbeat",
        ),
    ],
    ids=[
        "none yet",
        "well",
        "silent",
        "ends by itself",
        "another host's",
        "another group's vouches not",
    ],
)
def test_worker_is_judged_by_the_heartbeat_of_its_own_group(
    beats: list[Beat], problem: str | None
) -> None:
    assert judge_worker(beats, os.getpgid(0), silent_seconds=10) == problem


async def test_unreachable_database_is_no_problem_of_the_worker(tmp_path: Path) -> None:
    check = worker_liveness(f"sqlite:///{tmp_path / 'nothing.db'}", LivenessLimits())

    assert await check.problem(os.getpgid(0)) is None


async def test_hung_api_is_found_within_15_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        check = api_liveness("127.0.0.1", hung.getsockname()[1], DEFAULT_LIMITS)
        # It hangs just after a check that passed.
        async with asyncio.timeout(15 - check.interval_seconds):
            problem = await wait_for_lasting_problem(check, 1)

    assert problem == "/livez is not answered"


async def test_port_that_only_accepts_connections_fails_the_http2_probe() -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        assert not await speaks_http2("127.0.0.1", frozen.getsockname()[1])
    assert not await speaks_http2("127.0.0.1", free_ports(1)[0])


async def test_server_that_completes_the_handshake_passes_the_http2_probe() -> None:
    async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        writer.close()

    async with await asyncio.start_server(shake_hands, "127.0.0.1", 0) as server:
        assert await speaks_http2("127.0.0.1", server.sockets[0].getsockname()[1])
