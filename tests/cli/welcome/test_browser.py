"""When the browser opens, and that it is left alone."""

import os
import sys
from pathlib import Path

import pytest

from cli.welcome.browser import may_open_browser
from tests.support.processes import python, running
from tests.support.waiting import wait_until

URL = "http://127.0.0.1:8000/login/link?token=a_token&b=c d"
OPEN = (
    "import asyncio, sys; from cli.welcome.browser import open_browser\n"
    "asyncio.run(open_browser(sys.argv[1])); print('opened')"
)
BROWSER = (
    '#!/bin/sh\necho chatter; echo chatter >&2\nps -o sid= -p $$ > {out}.sid\necho "$1" > {out}\n'
)


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"BROWSER": "w3m"}, "linux", False),
        ({"SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}, "darwin", False),
    ],
)
def test_browser_needs_a_display(
    environment: dict[str, str], platform: str, expected: bool
) -> None:
    assert may_open_browser(environment, is_terminal=True, platform=platform) is expected


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_browser_needs_a_terminal(platform: str) -> None:
    assert not may_open_browser({"DISPLAY": ":0"}, is_terminal=False, platform=platform)


@pytest.mark.parametrize(("user", "expected"), [(0, False), (501, True)], ids=["root", "user"])
def test_root_has_no_browser_on_macos(
    user: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)

    assert may_open_browser({}, is_terminal=True, platform="darwin") is expected


def test_browser_gets_the_link_and_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    browser, out = tmp_path / "browser", tmp_path / "out"
    browser.write_text(BROWSER.format(out=out))
    browser.chmod(0o755)

    with running(
        *python("-c", OPEN, URL), environment={"BROWSER": f"{browser} %s"}, on_terminal=True
    ) as program:
        assert program.ended() == 0
        wait_until(lambda: out.exists() and out.read_text(), what="the browser has started")

        assert out.read_text() == f"{URL}\n"
        # Ctrl-C goes to the processes of the terminal's own session.
        assert int((tmp_path / "out.sid").read_text()) != program.process.pid
        assert program.output.replace("\r", "") == "opened\n"


def test_missing_browser_is_no_error(tmp_path: Path) -> None:
    environment = {"BROWSER": str(tmp_path / "absent"), "PATH": str(Path(sys.executable).parent)}

    with running(*python("-W", "error", "-c", OPEN, URL), environment=environment) as program:
        assert program.ended() == 0
        assert program.output == "opened\n"
