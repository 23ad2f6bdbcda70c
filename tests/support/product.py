"""The product as its real processes: Temporal, an API and a worker, each started, stopped and
killed as a test says.

Mail goes to a server in the test's process, callbacks to an endpoint there. Projects are made with
the command line, receipts and results are sent over HTTP. Nothing of the product runs in the test's
own process.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.up.temporal_binary import find_temporal_program, start_dev_command, temporal_environment
from config.settings import Settings
from tests.cli.makegood import Makegood
from tests.console.receiver import Receiver, receiving
from tests.support.processes import Program, free_ports, python
from tests.support.temporal import TEMPORAL
from tests.support.waiting import wait_until
from tests.workflows.smtp_server import MailHandler, running_mail_server

SECRET_KEY = "a root secret for the product's tests, long enough"
_numbers = itertools.count(1)


class Product:
    """One installation. `post` has the mails that were sent, `receiver` the callbacks."""

    def __init__(
        self,
        data_dir: Path,
        database_url: str,
        *,
        post: MailHandler,
        smtp_url: str,
        receiver: Receiver,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.post = post
        self.receiver = receiver
        self._port, temporal_port, temporal_ui_port = free_ports(3)
        self.temporal_address = f"127.0.0.1:{temporal_port}"
        self._temporal_settings = Settings(
            data_dir=data_dir, temporal_port=temporal_port, temporal_ui_port=temporal_ui_port
        )
        self._environment = {
            "MAKEGOOD_DATA_DIR": str(data_dir),
            "MAKEGOOD_DATABASE_URL": database_url,
            "MAKEGOOD_SECRET_KEY": SECRET_KEY,
            "MAKEGOOD_PORT": str(self._port),
            "MAKEGOOD_SMTP_URL": smtp_url,
            "MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8",
            "MAKEGOOD_CALLBACK_SCHEDULE_SECONDS": "0,1,1",
            "MAKEGOOD_RECONCILE_SECONDS": "1",
            "TEMPORAL_ADDRESS": self.temporal_address,
            **(settings or {}),
        }
        self._programs: dict[str, Program] = {}
        self._api_key = ""
        self.created: dict[str, Any] = {}  # the project, as JSON, with its secrets
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=20
        )
        self.makegood = Makegood(self._environment)

    def start(self, *names: str) -> None:
        """Start `temporal`, `api`, `worker`, or some of them, at once, and wait until each is at
        work.
        """
        for name in names:
            self._programs[name] = self._spawn(name)
        for name in names:
            match name:
                case "temporal":
                    wait_until(self._temporal_answers, seconds=80, what="Temporal answers")
                case "api":
                    wait_until(self._api_answers, seconds=80, what="the API answers")
                case _:
                    self._programs[name].wait_for("worker_ready", seconds=80)

    def start_another_worker(self) -> None:
        """Start a second worker beside the first, and wait until it is at work."""
        self._programs["another worker"] = self._spawn("worker")
        self._programs["another worker"].wait_for("worker_ready", seconds=80)

    def process_of(self, name: str) -> int:
        """The id of the process."""
        return self._programs[name].process.pid

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for its end."""
        self._programs.pop(name).end()

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self._programs[name].process.kill()
        self.stop(name)

    def output(self, name: str) -> str:
        """What `temporal`, `api` or `worker` has printed since it was started."""
        return self._programs[name].output

    def close(self) -> None:
        """End everything that runs."""
        for name in ("api", "worker", "another worker", "temporal"):
            if name in self._programs:
                self.stop(name)
        self.http.close()

    def create_project(self) -> dict[str, Any]:
        """A test project whose key has every scope, made with the command line."""
        scopes = [
            word for scope in ("ingest", "read", "operate", "admin") for word in ("--scope", scope)
        ]
        arguments = (
            "--mode",
            "test",
            "--repair-url",
            self.receiver.url,
            "--alert-email",
            "ops@shop.example",
            *scopes,
        )
        created: dict[str, Any] = self.makegood(
            "project", "create", "shop", *arguments, "--json"
        ).json
        self._api_key = created["api_key"]
        self.created = created
        return created

    def receipt(self, **changes: Any) -> str:
        """The event of a new receipt that was answered with 202."""
        number = next(_numbers)
        body = {
            "provider": "stripe",
            "provider_event_id": f"evt_{number}",
            "event_type": "invoice.paid",
            "effect_type": "credit_grant",
            "internal_reference": f"order_{number}",
            "occurred_at": "2026-11-23T11:13:55Z",
        }
        return str(self.say("receipt", body | changes)["event_id"])

    def say(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a receipt or a result."""
        headers = self.headers | {"Idempotency-Key": f"key {next(_numbers)}"}
        answer = self.http.post(f"/api/v1/{endpoint}", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def event(self, event_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/v1/events/{event_id}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def reprocess(self, event_id: str) -> str:
        """The `replay_id` of the repair that was asked for."""
        incident_id = self.event(event_id)["incident"]["id"]
        answer = self.http.post(f"/api/v1/incidents/{incident_id}/reprocess", headers=self.headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["replay_id"])

    def becomes(self, event_id: str, state: str, *, seconds: float = 30) -> dict[str, Any]:
        """The event once it is in the state."""
        wait_until(
            lambda: self.event(event_id)["state"] == state,
            seconds=seconds,
            what=f"{event_id} is {state}",
        )
        return self.event(event_id)

    def temporal(self, *arguments: str) -> str:
        """What Temporal's own command line answers."""
        with_address = (str(TEMPORAL), *arguments, "--address", self.temporal_address)
        program = Program(with_address, temporal_environment())
        try:
            assert program.ended() == 0, program.output
            return program.output
        finally:
            program.end()

    @property
    def headers(self) -> dict[str, str]:
        """The project's key, and that JSON is read."""
        return {"Authorization": f"Bearer {self._api_key}", "Accept": "application/json"}

    def _spawn(self, name: str) -> Program:
        if name != "temporal":
            return Program(python("-m", "cli.main", name), self._environment)
        command = start_dev_command(
            find_temporal_program(self._temporal_settings.data_dir), self._temporal_settings
        )
        return Program(command, temporal_environment())

    def _api_answers(self) -> bool:
        try:
            return self.http.get("/livez").status_code == 200
        except httpx.HTTPError:
            return False

    def _temporal_answers(self) -> bool:
        program = Program(
            (str(TEMPORAL), "operator", "cluster", "health", "--address", self.temporal_address), {}
        )
        try:
            return program.ended() == 0
        finally:
            program.end()


@contextmanager
def product(
    data_dir: Path, database_url: str, *, settings: Mapping[str, str] | None = None
) -> Iterator[Product]:
    """An installation on a migrated store, all of it at work; `settings` are further variables, or
    others in place of these.
    """
    data_dir.mkdir(exist_ok=True)
    with running_mail_server() as (post, smtp_url), receiving() as receiver:
        installation = Product(
            data_dir,
            database_url,
            post=post,
            smtp_url=smtp_url,
            receiver=receiver,
            settings=settings,
        )
        try:
            installation.start("temporal", "api", "worker")
            installation.create_project()
            yield installation
        finally:
            installation.close()
