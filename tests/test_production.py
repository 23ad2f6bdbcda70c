"""The production shape of docker-compose.yml as plain processes: its commands, its environment, a
real PostgreSQL and Temporal.

Two API and two worker processes share the one store; only addresses differ from the file's. What
containers add (images, networks, volumes) is not proved here.
"""

import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.up.temporal_binary import find_temporal_program, start_dev_command, temporal_environment
from config.settings import Settings
from store.maintenance.mailbox import list_mails
from tests.support.postgres import Postgres
from tests.support.processes import Program, free_ports, python, running
from tests.support.waiting import wait_until
from tests.test_compose import SERVICES, VARIABLE

OURS = ("api-1", "api-2", "worker-1", "worker-2")
SECRET_KEY = "a root secret for this test alone, long enough"


@dataclass(frozen=True)
class Production:
    """The running services, and what one needs to speak to them."""

    services: Mapping[str, Program]
    environments: Mapping[str, Mapping[str, str]]
    apis: tuple[httpx.Client, httpx.Client]
    mailbox_dir: Path


@pytest.fixture(scope="module")
def production(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Production]:
    directory = tmp_path_factory.mktemp("production")
    api_ports, (temporal, temporal_ui, smtp) = free_ports(2), free_ports(3)
    addresses = {
        "MAKEGOOD_DATABASE_URL": postgres.url(postgres.create()),
        "MAKEGOOD_SMTP_URL": f"smtp://127.0.0.1:{smtp}",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal}",
        "MAKEGOOD_HOST": "127.0.0.1",
        "MAKEGOOD_DATA_DIR": str(directory / "never-made"),
    }
    environments = {name: {**_environment(name), **addresses} for name in (*OURS, "migrate")}
    for name, port in zip(OURS, api_ports, strict=False):
        environments[name]["MAKEGOOD_PORT"] = str(port)
    settings = Settings(data_dir=directory, temporal_port=temporal, temporal_ui_port=temporal_ui)
    command = start_dev_command(find_temporal_program(directory), settings)
    mailbox = {"MAKEGOOD_DATA_DIR": str(directory), "MAKEGOOD_SMTP_PORT": str(smtp)}
    with ExitStack() as stack:
        stack.enter_context(running(*command, environment=temporal_environment()))
        stack.enter_context(running(*_makegood("mailbox"), environment=mailbox))
        for _ in range(2):  # done again, it changes nothing
            _run(*_makegood(*SERVICES["migrate"]["command"]), environment=environments["migrate"])
        services = {
            name: stack.enter_context(
                running(*_makegood(*SERVICES[name]["command"]), environment=environments[name])
            )
            for name in OURS
        }
        one, two = (
            stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False))
            for port in api_ports
        )
        for client in (one, two):
            wait_until(_is_ready(client), seconds=40, what="both APIs are ready")
        for name in ("worker-1", "worker-2"):
            services[name].wait_for("worker_ready", seconds=40)
        yield Production(services, environments, (one, two), directory / "mailbox")


@pytest.fixture(scope="module")
def key(production: Production) -> str:
    """An API key of a new project, made as an operator would, in the environment of a container."""
    arguments = (
        "project",
        "create",
        "shop",
        "--mode",
        "test",
        "--alert-email",
        "ops@example.com",
        "--json",
    )
    scopes = ("--scope", "ingest", "--scope", "read")
    made = _run(*_makegood(*arguments, *scopes), environment=production.environments["api-1"])
    return str(json.loads(made)["api_key"])


@pytest.mark.parametrize("service", OURS)
def test_health_check_of_the_file_finds_the_service_well(
    production: Production, service: str
) -> None:
    command = SERVICES[service]["healthcheck"]["test"][2:]

    def is_well() -> bool:
        with running(*python(*command), environment=production.environments[service]) as check:
            return check.ended() == 0

    wait_until(is_well, seconds=20, what=f"{service} is well")


def test_what_one_api_accepted_the_other_answers(production: Production, key: str) -> None:
    one, two = production.apis

    first = _post(one, "receipt", key, _receipt("order-1"), idempotency_key="receipt-1")
    again = _post(two, "receipt", key, _receipt("order-1"), idempotency_key="receipt-1")
    result = _post(
        two,
        "result",
        key,
        {"event_id": first.json()["event_id"], "status": "success"},
        idempotency_key="result-1",
    )

    assert first.status_code == again.status_code == 202
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert result.json()["state"] == "applied"


def test_worker_killed_before_a_deadline_leaves_it_to_the_other(
    production: Production, key: str
) -> None:
    one, two = production.apis
    accepted = _post(
        one,
        "receipt",
        key,
        {**_receipt("order-2"), "timeout_minutes": 0.05},
        idempotency_key="receipt-2",
    ).json()

    production.services["worker-1"].process.kill()

    def event() -> dict[str, Any]:  # a JSON object
        found: dict[str, Any] = two.get(
            f"/api/v1/events/{accepted['event_id']}", headers=_headers(key)
        ).json()
        return found

    opened = wait_until(
        lambda: (shown := event())["state"] == "incident" and shown,
        seconds=40,
        what="the incident is open",
    )
    assert isinstance(opened, dict)
    assert opened["incident"]["reason"] == "missing_result"
    wait_until(
        lambda: len(list_mails(production.mailbox_dir)) == 1, seconds=20, what="one mail arrived"
    )


def test_no_secret_is_in_the_output(production: Production, key: str) -> None:
    output = "".join(service.output for service in production.services.values())

    assert SECRET_KEY not in output
    assert key not in output


def test_sigterm_ends_each_with_exit_code_0(production: Production) -> None:
    left = [name for name in OURS if production.services[name].process.poll() is None]

    for name in left:
        production.services[name].process.send_signal(signal.SIGTERM)

    assert {name: production.services[name].ended(seconds=12) for name in left} == dict.fromkeys(
        left, 0
    )
    assert not (Path(production.environments["api-1"]["MAKEGOOD_DATA_DIR"])).exists()


def _environment(service: str) -> dict[str, str]:
    """The service's environment with the file's own defaults, and values for what it demands."""
    demanded = {"POSTGRES_PASSWORD": "unused", "MAKEGOOD_SECRET_KEY": SECRET_KEY}

    def value(match: re.Match[str]) -> str:
        return demanded.get(match["name"]) or match["rest"].removeprefix(":-")

    return {
        name: VARIABLE.sub(value, text) for name, text in SERVICES[service]["environment"].items()
    }


def _makegood(*arguments: str) -> tuple[str, ...]:
    return python("-m", "cli.main", *arguments)


def _run(*command: str, environment: Mapping[str, str]) -> str:
    with running(*command, environment=environment) as program:
        assert program.ended(seconds=40) == 0, program.output
        return program.output


def _is_ready(client: httpx.Client) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    return is_ready


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


def _post(
    client: httpx.Client, path: str, key: str, body: Mapping[str, object], *, idempotency_key: str
) -> httpx.Response:
    return client.post(
        f"/api/v1/{path}", json=body, headers={**_headers(key), "Idempotency-Key": idempotency_key}
    )


def _receipt(reference: str) -> dict[str, object]:
    return {
        "provider": "stripe",
        "stripe_event_id": f"evt_{reference}",
        "event_type": "invoice.paid",
        "effect_type": "access_unlock",
        "internal_reference": reference,
        "occurred_at": "2026-11-23T11:00:00Z",
    }
