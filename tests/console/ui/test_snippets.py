"""The code of the checklist, run as a reader pastes it, against a server that records the calls.

A language whose program is missing is skipped. Laravel's calls need the client alone, and run in
PHP; its endpoint is only parsed.
"""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.console.ui.start.snippets import LANGUAGES, SnippetFacts, calls_of, snippets_of
from domain.projects import Mode
from operations.onboarding.checklist import Step
from operations.validation import timeout_errors
from tests.sdks.merchant import SDKS, SECRET, FakeMakegood, command, environment, fake_makegood
from tests.sdks.test_examples import deliver, signed
from tests.support.processes import free_ports
from tests.support.waiting import wait_until

KEY = "sk_test_of-the-snippets"
CALLS = (Step.RECEIPT, Step.RESULT, Step.TIMEOUT, Step.ALERT, Step.RESOLVED)
PROGRAMS = {"node": "node", "php": "php", "laravel": "php", "python": "python"}
FILES = {"node": "start.mjs", "php": "start.php", "laravel": "start.php", "python": "start.py"}
CALLBACK = {"event_id": "evt_1", "replay_id": "rpl_1", "effect_key": "stripe:evt_1:credit_grant"}


def facts(url: str = "https://makegood.example", **changes: object) -> SnippetFacts:
    values = {
        "url": url,
        "project": "Günther's shop",
        "livemode": False,
        "occurred_at": "2026-11-23T10:00:00.000Z",
        "api_key": KEY,
    }
    return SnippetFacts(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def makegood() -> Iterator[FakeMakegood]:
    with fake_makegood() as fake:
        yield fake


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The directory of an app that has the client libraries installed."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "makegood-client").symlink_to(SDKS / "node")
    (tmp_path / "vendor").mkdir()
    loads = f"<?php require '{SDKS}/php/autoload.php';\n"
    (tmp_path / "vendor" / "autoload.php").write_text(loads)
    return tmp_path


def program(language: str) -> list[str]:
    if language == "curl":
        return ["bash"]
    return command(PROGRAMS[language])


def run(language: str, code: str, app: Path) -> "subprocess.CompletedProcess[str]":
    path = app / FILES.get(language, "start.sh")
    if language == "laravel":  # tinker has loaded the classes
        code = f"<?php require 'vendor/autoload.php';\n{code}"
    path.write_text(code)
    return subprocess.run(
        [*program(language), str(path)],
        cwd=app,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("step", CALLS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_code_makes_the_calls_of_its_step(
    language: str, step: Step, makegood: FakeMakegood, app: Path
) -> None:
    given = facts(makegood.url)

    ran = run(language, snippets_of(given)[step][language], app)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    wanted = calls_of(given)[step]
    assert [(call.path, call.body) for call in makegood.calls] == [
        (f"/api/v1/{call.name}", dict(call.fields)) for call in wanted
    ]
    for call in makegood.calls:
        assert call.headers["authorization"] == f"Bearer {KEY}"
        assert call.headers["idempotency-key"]
        assert call.headers["content-type"] == "application/json"


def test_keys_of_curl_are_made_from_the_facts_alone(makegood: FakeMakegood, app: Path) -> None:
    for step in (Step.RECEIPT, Step.ALERT, Step.RESOLVED):
        assert run("curl", snippets_of(facts(makegood.url))[step]["curl"], app).returncode == 0

    assert [call.headers["idempotency-key"] for call in makegood.calls] == [
        "receipt:stripe:evt_first:credit_grant",
        "receipt:stripe:evt_failed_1:credit_grant",
        "result:evt_failed_1:-:failed:-",
        "result:evt_late_1:-:success:-",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_settings_are_read_by_a_shell(language: str, app: Path) -> None:
    code = snippets_of(facts(signing_secret=SECRET))[Step.KEY][language]

    ran = run("curl", f"set -a\n{code}\nenv", app)

    read = dict(line.partition("=")[::2] for line in ran.stdout.splitlines())
    assert (read["MAKEGOOD_URL"], read["MAKEGOOD_API_KEY"], read["MAKEGOOD_SIGNING_SECRET"]) == (
        "https://makegood.example",
        KEY,
        SECRET,
    )


def test_command_names_the_project_as_one_argument(app: Path) -> None:
    code = snippets_of(facts())[Step.REPAIR]["curl"]

    ran = run("curl", f'makegood() {{ printf "%s\\n" "$@"; }}\n{code}', app)

    assert ran.stdout.splitlines() == ["project", "test-repair", "Günther's shop"]


@pytest.mark.parametrize("language", ["python", "node", "php"])
def test_repair_endpoint_verifies_and_reports_and_leaves_a_test_alone(
    language: str, makegood: FakeMakegood, app: Path
) -> None:
    body, test = (json.dumps(CALLBACK | marks).encode() for marks in ({}, {"test": True}))
    code = snippets_of(facts(makegood.url))[Step.REPAIR][language]
    with repair_endpoint(language, code, app) as url:
        genuine = signed(body)
        statuses = [
            deliver(url, body + b" ", genuine),
            deliver(url, body, genuine),
            deliver(url, body, genuine),
            deliver(url, test, signed(test)),
            deliver(url, body, signed(body, timestamp=int(time.time()) - 301)),
        ]
        reported = makegood.called.acquire(timeout=20)

    assert statuses == [401, 202, 401, 202, 401]
    assert reported
    assert [(call.path, call.body) for call in makegood.calls] == [
        ("/api/v1/result", {"event_id": "evt_1", "replay_id": "rpl_1", "status": "success"})
    ]


@contextmanager
def repair_endpoint(language: str, code: str, app: Path) -> Iterator[str]:
    """The code as its own process."""
    (port,) = free_ports(1)
    names = {"python": "repair.py", "node": "repair.mjs", "php": "repair.php"}
    (app / names[language]).write_text(code)
    arguments = {
        "python": ["-m", "uvicorn", "--port", str(port), "repair:app"],
        "node": ["repair.mjs"],
        "php": ["-S", f"127.0.0.1:{port}", "repair.php"],
    }[language]
    with subprocess.Popen(
        [*program(language), *arguments],
        cwd=app,
        env=environment() | {"PORT": str(port), "TMPDIR": str(app)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: accepts(port), what=f"{language} listens")
            yield f"http://127.0.0.1:{port}/makegood/repair"
        finally:
            process.terminate()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_laravels_endpoint_parses(app: Path) -> None:
    (app / "routes.php").write_text("<?php\n" + snippets_of(facts())[Step.REPAIR]["laravel"])

    ran = subprocess.run(
        [*command("php"), "-l", str(app / "routes.php")], capture_output=True, check=False
    )

    assert ran.returncode == 0, ran.stdout


def test_short_deadline_is_allowed_in_each_mode() -> None:
    for mode in Mode:
        (late,) = calls_of(facts(livemode=mode is Mode.LIVE))[Step.TIMEOUT]
        minutes = late.fields["timeout_minutes"]

        assert isinstance(minutes, int | float)
        assert timeout_errors(minutes, livemode=mode is Mode.LIVE) == []


def test_every_step_has_code_in_every_language_with_address_and_key() -> None:
    snippets = snippets_of(facts())

    assert set(snippets) == set(Step)
    for step, by_language in snippets.items():
        assert set(by_language) == set(LANGUAGES)
        for language, code in by_language.items():
            if (step, language) != (Step.REPAIR, "curl"):
                assert KEY in code, (step, language)
                assert "https://makegood.example" in code, (step, language)
            assert not re.search(r"\$(url|key)\b", code)


def test_code_without_a_key_says_what_is_missing() -> None:
    code = snippets_of(facts(api_key=None))[Step.RECEIPT]

    assert all("YOUR_API_KEY" in text for text in code.values())
