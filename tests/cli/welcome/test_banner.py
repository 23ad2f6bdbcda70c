"""The banner: what a first reader needs comes first, and its line works in every shell."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cli.up.open_loopback import LOOPBACK_RANGES
from cli.welcome.banner import Welcome, own_command
from cli.welcome.bootstrap import BootstrapResult
from config.settings import Settings

FIRST = BootstrapResult("token", "default", "sk_test_key", "whsec_secret=")
LATER = BootstrapResult("token", "Bob's shop")
# Prints its arguments as JSON, in place of curl.
CURL = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


def banner(result: BootstrapResult = FIRST, *, opens_browser: bool = False, **settings: Any) -> str:
    return Welcome(
        settings=Settings(**settings),
        result=result,
        ready_seconds=6.81,
        run_id="20261130100000",
        opens_browser=opens_browser,
    ).text()


def first_call(text: str) -> str:
    (line,) = re.findall(r"^  (curl .*)$", text, re.MULTILINE)
    return str(line)


def test_link_is_first_then_secrets_then_the_first_call_then_addresses() -> None:
    text = banner()

    places = [
        text.index(part)
        for part in (
            "Makegood is ready in 6.8 s\n",
            "  http://127.0.0.1:8000/login/link?token=token\n",
            "  MAKEGOOD_API_KEY=sk_test_key\n",
            "  MAKEGOOD_SIGNING_SECRET=whsec_secret=\n",
            "  curl -sS http://127.0.0.1:8000/api/v1/receipt ",
            "  API and console   http://127.0.0.1:8000\n",
            "  Logs              .makegood/logs; `",
            "Ctrl-C stops everything; stored data stays.\n",
        )
    ]
    assert places == sorted(places)
    assert text.endswith("stored data stays.\n")


def test_secrets_of_an_existing_project_are_not_shown_and_it_is_named_in_a_command() -> None:
    text = banner(LATER)

    assert "MAKEGOOD_SIGNING_SECRET" not in text
    (command,) = re.findall(r"^  (.* --label laptop)$", text, re.MULTILINE)
    assert shlex.split(command)[1:] == ["key", "create", "Bob's shop", "--label", "laptop"]
    assert '"Authorization: Bearer $MAKEGOOD_API_KEY"' in first_call(text)


def test_store_without_a_test_project_gets_a_command_that_makes_one() -> None:
    text = banner(BootstrapResult("token", None))

    assert re.findall(r"^  .*makegood (project create try --mode test)$", text, re.MULTILINE)


def test_first_call_opens_an_incident_after_half_a_minute() -> None:
    arguments = shlex.split(first_call(banner()))

    body = json.loads(arguments[arguments.index("-d") + 1])
    assert body["timeout_minutes"] == 0.5
    assert body["stripe_event_id"] == "evt_first_20261130100000"
    assert "Authorization: Bearer sk_test_key" in arguments
    assert "Idempotency-Key: first-20261130100000" in arguments


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://[::1]:8000", "https://pay.example/makegood"]
)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "fish", "tcsh"])
def test_every_shell_reads_the_first_call_alike(shell: str, url: str, tmp_path: Path) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not on this machine")
    curl = tmp_path / "curl"
    curl.write_text(CURL)
    curl.chmod(0o755)
    line = first_call(banner(public_url=url))

    answer = subprocess.run(
        [program, "-c", line],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=20,
    )

    assert json.loads(answer.stdout) == shlex.split(line)[1:]
    assert f"{url}/api/v1/receipt" in json.loads(answer.stdout)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "fish", "tcsh"])
def test_first_call_of_a_later_start_takes_the_key_from_the_environment(
    shell: str, tmp_path: Path
) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not on this machine")
    curl = tmp_path / "curl"
    curl.write_text(CURL)
    curl.chmod(0o755)

    answer = subprocess.run(
        [program, "-c", first_call(banner(LATER))],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "MAKEGOOD_API_KEY": "sk_test_mine",
        },
        capture_output=True,
        check=True,
        timeout=20,
    )

    assert "Authorization: Bearer sk_test_mine" in json.loads(answer.stdout)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "  Temporal UI       http://127.0.0.1:8233"),
        (
            {"TEMPORAL_ADDRESS": "temporal.example:7233"},
            "  Temporal UI       the cluster at temporal.example:7233",
        ),
        (
            {"TEMPORAL_ADDRESS": "t.example:7233", "temporal_ui_url": "https://ui.example"},
            "  Temporal UI       https://ui.example",
        ),
        ({}, "  Mail              http://127.0.0.1:8000/mailbox"),
        (
            {"smtp_url": SecretStr("smtp://u:hunter2@mail.example")},
            "  Mail              your mail server (MAKEGOOD_SMTP_URL)",
        ),
        (
            {"egress_allow_test": LOOPBACK_RANGES},
            "  Repair URLs       test projects may use this machine (127.0.0.0/8, ::1), live ones"
            " may not",
        ),
    ],
)
def test_addresses_are_those_of_the_settings(settings: dict[str, Any], line: str) -> None:
    text = banner(**settings)

    assert f"\n{line}\n" in text
    assert "hunter2" not in text


def test_nothing_is_said_of_repair_urls_when_nothing_is_open_for_tests() -> None:
    assert "Repair URLs" not in banner(egress_allow=(ip_network("127.0.0.0/8"),))


@pytest.mark.parametrize("opens", [True, False])
def test_opened_browser_is_announced(opens: bool) -> None:
    assert ("opens in your browser now" in banner(opens_browser=opens)) == opens


def test_own_command_is_the_path_unless_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / ".venv" / "bin" / "makegood"
    own.parent.mkdir(parents=True)
    own.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    monkeypatch.setenv("PATH", "/nowhere")

    elsewhere = own_command()
    monkeypatch.chdir(tmp_path)
    beside = own_command()
    monkeypatch.setenv("PATH", str(own.parent))
    found = own_command()

    assert (elsewhere, beside, found) == (str(own), ".venv/bin/makegood", "makegood")
