"""`doctor`: a fix for every failure on a new machine, the judgement of each check, no printed
secret.
"""

import asyncio
import json
import os
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.findings import Verdict
from cli.doctor.heartbeats import judge_clocks, judge_heartbeats, judge_skew
from cli.doctor.machine import check_data_directory, check_egress, check_python, check_secret_key
from cli.doctor.services import check_temporal
from cli.doctor.store import judge_flaws
from config.settings import Settings
from store.db.durability import Flaw
from store.status.heartbeats import Heartbeat
from tests.cli.makegood import Makegood
from tests.support.postgres import Postgres

NAMES = {
    *("Python", "Data directory", "Secret key", "Disk space", "Temporal program", "Allowed egress"),
    *(
        "Store",
        "Durability",
        "Sealed secrets",
        "Clock",
        "Worker",
        "Workflows",
        "Repair URLs",
        "Alerts",
        "Outages",
        "Search index",
        "Sources",
        "Projects",
        "Destinations",
        "Repairs of many",
        "Passkeys",
        "API",
        "Temporal",
        "Mail",
    ),
}
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def settings_of(tmp_path: Path, **values: Any) -> Settings:
    return Settings(data_dir=tmp_path / "data", **values)


def heartbeat(*, role: str = "worker", age_seconds: float = 1.0, **report: object) -> Heartbeat:
    return Heartbeat(
        process="w1", role=role, started_at=NOW, at=NOW, age_seconds=age_seconds, report=report
    )


def test_every_failure_on_a_fresh_machine_has_a_fix(bare_makegood: Makegood) -> None:
    done = bare_makegood(
        "doctor", "--json", MAKEGOOD_PORT="9", MAKEGOOD_TEMPORAL_PORT="9", MAKEGOOD_SMTP_PORT="9"
    )

    report = json.loads(done.out)
    assert done.code == 1
    assert report["ok"] is False
    assert {check["name"] for check in report["checks"]} == NAMES
    assert all(check["fix"] for check in report["checks"] if check["status"] != "ok")
    failed = {check["name"] for check in report["checks"] if check["status"] == "fail"}
    assert failed >= {"Data directory", "Secret key", "Store", "Worker", "API", "Temporal", "Mail"}


def test_doctor_changes_nothing(bare_makegood: Makegood) -> None:
    bare_makegood("doctor")

    assert not Path(bare_makegood.settings["MAKEGOOD_DATA_DIR"]).exists()


async def test_current_store_is_ok(makegood: Makegood) -> None:
    done = makegood("doctor", MAKEGOOD_PORT="9", MAKEGOOD_TEMPORAL_PORT="9", MAKEGOOD_SMTP_PORT="9")

    assert "ok    Store " in done.out
    assert "ok    Clock " in done.out
    assert "ok    Secret key " in done.out


def test_password_of_an_unreachable_store_is_not_shown(bare_makegood: Makegood) -> None:
    done = bare_makegood(
        "doctor", MAKEGOOD_DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:9/makegood"
    )

    assert done.code == 1
    assert "hunter2" not in done.out + done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("heartbeats", "verdict"),
    [
        ([], Verdict.FAIL),
        ([heartbeat(role="api")], Verdict.FAIL),
        ([heartbeat(age_seconds=60)], Verdict.FAIL),
        ([heartbeat(temporal_reachable=False)], Verdict.FAIL),
        ([heartbeat(temporal_reachable=True), heartbeat(age_seconds=60)], Verdict.OK),
    ],
    ids=["none", "only an API", "old", "Temporal away", "one alive, one gone"],
)
def test_heartbeats_are_judged(heartbeats: list[Heartbeat], verdict: Verdict) -> None:
    assert judge_heartbeats(heartbeats).verdict is verdict


def test_worker_that_cannot_poll_temporal_is_reported_with_its_reason() -> None:
    problem = {
        "kind": "namespace_taken",
        "detail": "it belongs to another installation, ins_1",
        "fix": "set TEMPORAL_NAMESPACE",
    }

    finding = judge_heartbeats(
        [
            heartbeat(temporal_reachable=True),
            heartbeat(temporal_reachable=False, temporal_problem=problem),
        ]
    )

    assert finding.verdict is Verdict.FAIL
    assert finding.detail == "w1 cannot poll Temporal: it belongs to another installation, ins_1"
    assert finding.fix == "set TEMPORAL_NAMESPACE"


def test_workers_of_another_store_are_a_failure_that_names_them() -> None:
    finding = judge_heartbeats(
        [heartbeat(temporal_reachable=True, foreign_workers=["worker-copy-1-abc"])]
    )

    assert finding.verdict is Verdict.FAIL
    assert (
        finding.detail == "workers of another store poll this one's task queue: worker-copy-1-abc"
    )


def test_missing_temporal_features_are_a_warning() -> None:
    finding = judge_heartbeats(
        [
            heartbeat(
                temporal_reachable=True,
                canary_fresh=None,
                missing=["search attribute MgState: not registered"],
            )
        ]
    )

    assert finding.verdict is Verdict.WARN
    assert finding.detail.endswith("Temporal lacks search attribute MgState: not registered")


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0.1, Verdict.OK), (-5, Verdict.WARN), (120, Verdict.FAIL), (-120, Verdict.FAIL)],
)
def test_clock_skew_is_judged(seconds: float, verdict: Verdict) -> None:
    assert judge_skew(seconds).verdict is verdict


FSYNC = Flaw("fsync", "configuration file", "a crash loses receipts", is_ours=True)
ASYNCHRONOUS = Flaw("synchronous_commit", "user", "other programs lose commits", is_ours=False)


@pytest.mark.parametrize(
    ("flaws", "verdict"),
    [((), Verdict.OK), ((ASYNCHRONOUS,), Verdict.WARN), ((FSYNC, ASYNCHRONOUS), Verdict.FAIL)],
)
def test_durability_is_judged_and_what_is_off_is_named(
    flaws: tuple[Flaw, ...], verdict: Verdict
) -> None:
    finding = judge_flaws(flaws)

    assert finding.verdict is verdict
    assert all(f"{flaw.setting} is off" in finding.detail for flaw in flaws)


def test_database_without_durable_commits_or_writes_fails(
    makegood: Makegood, postgres: Postgres, postgres_url: str
) -> None:
    asked = {"MAKEGOOD_DATABASE_URL": postgres_url, "MAKEGOOD_PORT": "9"}
    not_durable = makegood("doctor", **asked)
    name = postgres_url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    read_only = makegood("doctor", **asked)
    postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert "fail  Durability" in not_durable.out
    assert "fsync is off (set by: command line)" in not_durable.out
    assert "fail  Durability" in read_only.out
    assert "can be read and cannot be written" in read_only.out


@pytest.mark.parametrize(
    ("heartbeats", "verdict", "named"),
    [
        (
            [heartbeat(clock_ahead_seconds=59.0), heartbeat(role="api", clock_ahead_seconds=-60.0)],
            Verdict.OK,
            "differ by 0.1 s",
        ),
        (
            [heartbeat(clock_ahead_seconds=300.2)],
            Verdict.WARN,
            "The clock of w1 is 300 s ahead of the store's.",
        ),
        (
            [heartbeat(role="api", clock_ahead_seconds=-301.0)],
            Verdict.WARN,
            "The clock of w1 is 301 s behind the store's.",
        ),
        ([heartbeat(age_seconds=60, clock_ahead_seconds=300.0)], Verdict.OK, "differ by 0.1 s"),
        ([heartbeat(clock_ahead_seconds=300.0, ended=True)], Verdict.OK, "differ by 0.1 s"),
    ],
    ids=[
        "within a minute",
        "a worker ahead",
        "an API behind",
        "one that is gone",
        "one that ended",
    ],
)
def test_process_with_a_wrong_clock_is_named(
    heartbeats: list[Heartbeat], verdict: Verdict, named: str
) -> None:
    found = judge_clocks(0.1, heartbeats)

    assert found.verdict is verdict
    assert named in found.detail


@pytest.mark.parametrize(
    ("ranges", "verdict"),
    [
        ((), Verdict.OK),
        (("10.1.0.0/16",), Verdict.OK),
        (("fd12:3456::/32",), Verdict.OK),
        (("127.0.0.0/8",), Verdict.WARN),
        (("203.0.114.0/24",), Verdict.WARN),
        (("0.0.0.0/0",), Verdict.FAIL),
        (("169.254.0.0/16",), Verdict.FAIL),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, tuple) else None,
)
def test_allowed_egress_is_judged(
    ranges: tuple[str, ...], verdict: Verdict, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, egress_allow=tuple(map(ip_network, ranges)))

    assert check_egress(settings).verdict is verdict


@pytest.mark.parametrize(("mode", "verdict"), [(0o700, Verdict.OK), (0o755, Verdict.WARN)])
def test_data_directory_open_to_others_is_a_warning(
    mode: int, verdict: Verdict, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    settings.data_dir.mkdir()
    settings.data_dir.chmod(mode)

    assert check_data_directory(settings).verdict is verdict


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, Verdict.OK), (0o644, Verdict.FAIL)])
def test_secret_key_open_to_others_fails(mode: int, verdict: Verdict, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.data_dir.mkdir()
    settings.secret_key_path.write_text("k" * 48)
    os.chmod(settings.secret_key_path, mode)

    assert check_secret_key(settings).verdict is verdict


def test_old_python_fails() -> None:
    assert check_python((3, 10)).verdict is Verdict.FAIL
    assert check_python((3, 11)).verdict is Verdict.OK


async def test_temporal_without_tls_is_reported_as_such(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finding = await check_temporal(
            settings_of(tmp_path, temporal_address=target, temporal_tls=True)
        )

    assert finding.verdict is Verdict.FAIL
    assert finding.detail.startswith(
        f"{target} accepts connections, but not TLS with these settings"
    )
    assert finding.fix == "correct TEMPORAL_TLS and TEMPORAL_TLS_*"


async def test_unknown_temporal_host_name_is_reported_as_such(tmp_path: Path) -> None:
    finding = await check_temporal(settings_of(tmp_path, temporal_address="temporal.invalid:7233"))

    assert finding.verdict is Verdict.FAIL
    assert finding.detail == "the host name of temporal.invalid:7233 cannot be resolved"
