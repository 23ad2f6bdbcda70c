"""The command line as a whole: every command has its help, usage errors are 2, and short commands
stay light.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app
from tests.cli.makegood import Makegood
from tests.support.processes import ROOT

COMMANDS = [
    ("up",),
    ("api",),
    ("worker",),
    ("mailbox",),
    ("migrate",),
    ("logs",),
    ("backup",),
    ("restore",),
    ("doctor",),
    ("demo",),
    ("trigger",),
    ("overview",),
    ("config",),
    ("openapi",),
    ("version",),
    *[
        ("project", name)
        for name in ("create", "list", "show", "set", "suspend", "resume", "delete")
    ],
    *[("project", name) for name in ("rotate-secret", "finish-rotation", "test-repair")],
    *[("secret", name) for name in ("rotate", "status", "drop")],
    *[("key", name) for name in ("create", "list", "revoke")],
    *[
        ("user", name)
        for name in ("link", "list", "create", "grant", "revoke", "promote", "demote")
    ],
    *[("user", name) for name in ("delete", "reset-totp", "sessions", "sign-out")],
    ("user", "remove-passkeys"),
    *[("incident", name) for name in ("list", "show", "reprocess", "resolve", "acknowledge")],
    *[("incident", name) for name in ("unacknowledge", "assign", "comment", "snooze", "reopen")],
    ("receipt", "deadline"),
    ("incident", "stop-repair"),
    ("incident", "export"),
    *[("incident", "view", name) for name in ("list", "save", "remove")],
    *[("group", name) for name in ("list", "show", "mute", "unmute", "acknowledge", "resolve")],
    *[("bulk", name) for name in ("start", "list", "show", "pause", "resume", "abort")],
    *[("hold", name) for name in ("add", "list", "remove")],
    *[("project", "rules", name) for name in ("show", "set", "arm")],
    *[("source", name) for name in ("add", "list", "show", "set", "pause", "resume")],
    *[("source", name) for name in ("check", "report", "remove")],
    *[("destination", name) for name in ("list", "add", "set", "test", "remove")],
    *[("receipt", name) for name in ("send", "list", "show", "timeline", "expire", "restart")],
    *[("receipt", name) for name in ("evidence", "callback", "payload")],
    ("result", "send"),
    *[("audit", name) for name in ("list", "verify", "export")],
    *[("evidence", name) for name in ("verify", "key", "replace-key")],
    *[("signature", name) for name in ("make", "verify")],
]
HEAVY = ("temporalio", "sqlalchemy", "fastapi", "httpx", "pydantic_settings")


def run_in_process(*arguments: str, then: str) -> str:
    """What a piece of Python prints after the command ran in the same interpreter."""
    run = f"sys.argv[1:] = {list(arguments)!r}\ntry:\n    main.main()\nexcept SystemExit:\n    pass"
    code = f"import sys\nfrom cli import main\n{run}\n{then}"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout


def commands_of(group: TyperGroup) -> set[tuple[str, ...]]:
    """The paths of all commands below a group."""
    return {
        (name, *below)
        for name, command in group.commands.items()
        for below in (commands_of(command) if isinstance(command, TyperGroup) else {()})
    }


def test_table_names_every_command() -> None:
    assert commands_of(get_command(app)) == set(COMMANDS)


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != ("mailbox",)], ids=" ".join)
def test_every_command_has_its_line_in_the_documentation(command: tuple[str, ...]) -> None:
    assert f"`makegood {' '.join(command)}" in (ROOT / "docs" / "command-line.md").read_text()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    # In this process, since it reads nothing and there are many.
    done = CliRunner().invoke(
        app, [*command, "--help"], prog_name="makegood", env={"COLUMNS": "200"}
    )

    assert done.exit_code == 0
    assert f"Usage: makegood {' '.join(command)}" in done.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_breaks_no_word_on_a_terminal_of_80_columns(command: tuple[str, ...]) -> None:
    found = get_command(app)
    for name in command:
        assert isinstance(found, TyperGroup)
        found = found.commands[name]
    context = typer.Context(found)
    texts = [
        text
        for parameter in found.get_params(context)
        if isinstance(parameter, TyperArgument | TyperOption)
        for text in (parameter.display_type_rich(context), parameter.help)
    ]

    done = CliRunner().invoke(
        app, [*command, "--help"], prog_name="makegood", env={"COLUMNS": "80"}
    )

    words = {word for text in texts for word in (text or "").split()}
    assert {word for word in words if word not in done.output} == set()
    assert "[[" not in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("project", "create", "shop"),
        ("project", "create", "shop", "--mode", "production"),
        ("receipt", "send", "--key", "sk_test_x"),
        ("incident", "list", "--state", "lost"),
        ("incident", "list", "--limit", "101"),
        ("result", "send", "--key", "sk_test_x", "--status", "success"),
        ("trigger", "customer.created", "--to", "http://127.0.0.1:9", "--secret", "whsec_x"),
    ],
    ids=" ".join,
)
def test_usage_error_is_exit_code_2(arguments: tuple[str, ...], bare_makegood: Makegood) -> None:
    done = bare_makegood(*arguments)

    assert done.code == 2
    assert done.err
    assert "Traceback" not in done.err


def test_wrong_setting_is_named_on_one_line(started_makegood: Makegood) -> None:
    done = started_makegood("config", MAKEGOOD_PORT="many")

    assert done.code == 2
    assert done.err.startswith("makegood: invalid settings: MAKEGOOD_PORT: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("--help",), ("project", "create", "--help"), ("up", "--help")], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    printed = run_in_process(
        *arguments, then=f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )

    assert printed.rstrip().endswith("heavy: []")


@pytest.mark.parametrize(
    "arguments",
    [("project", "list"), ("incident", "list"), ("doctor",), ("openapi",)],
    ids=" ".join,
)
def test_short_commands_never_import_a_temporal_client(arguments: tuple[str, ...]) -> None:
    printed = run_in_process(
        *arguments, then="print('\\ntemporal:', 'temporalio.client' in sys.modules)"
    )

    assert printed.rstrip().endswith("temporal: False")


@pytest.mark.parametrize(
    "arguments", [("project", "list"), ("user", "link"), ("incident", "list")], ids=" ".join
)
def test_missing_store_error_names_the_fix(
    arguments: tuple[str, ...], bare_makegood: Makegood
) -> None:
    done = bare_makegood(*arguments)

    assert done.code == 1
    assert "makegood up" in done.err
    assert done.err.count("\n") == 1


def test_failure_goes_to_stderr_and_leaves_stdout_empty(started_makegood: Makegood) -> None:
    done = started_makegood("project", "list", "--json")

    assert done.out == ""


def test_command_on_a_broken_store_prints_its_error_and_no_log_line(tmp_path: Path) -> None:
    (tmp_path / "makegood.db").write_text("not a database at all\n" * 100)
    makegood = Makegood({"MAKEGOOD_DATA_DIR": str(tmp_path)}, is_forked=False)

    done = makegood(
        "project", "list", MAKEGOOD_SECRET_KEY="a root secret for the tests, long enough"
    )

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("makegood: ")
    assert done.err.count("\n") == 1
