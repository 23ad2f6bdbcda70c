"""A table on a real terminal fits the width, loses no character and runs nothing of its text."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

from tests.support.processes import ROOT, python

PROGRAM = """
import json, sys
from cli.output import print_rows
print_rows({}, json.loads(sys.argv[1]), ("event_id", "reason"), as_json=False)
"""
OWN_STYLE = re.compile(r"\x1b\[[01]m")
LONG_ID = "evt_019ab01c2d3e7f4a8b5c6d7e8f901234"


def printed_on_terminal(rows: str, *, columns: int) -> str:
    """What the program writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        subprocess.run(
            [*python("-c", PROGRAM), rows],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            env=environment,
            timeout=60,
            check=True,
        )
        return os.read(ours, 65_536).decode().replace("\r\n", "\n")
    finally:
        os.close(theirs)
        os.close(ours)


@pytest.mark.parametrize("columns", [24, 60, 200])
def test_table_fits_the_terminal_and_loses_no_character(columns: int) -> None:
    printed = printed_on_terminal(
        f'[{{"event_id": "{LONG_ID}", "reason": "deadline"}}]', columns=columns
    )

    lines = OWN_STYLE.sub("", printed).splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in printed
    assert lines[0].split() == ["EVENT", "ID", "REASON"]
    first_cells = (re.split(r" {2,}", line)[0].strip() for line in lines[2:])
    assert "".join(first_cells) == LONG_ID


@pytest.mark.parametrize(
    "text",
    ["[bold red]x[/bold red]", "[link=file:///etc/passwd]x[/link]", ":smile: x", "[/]", "a\\\\[b]"],
)
def test_markup_of_a_stored_text_is_printed_as_it_is(text: str) -> None:
    printed = printed_on_terminal(f'[{{"event_id": "{text}"}}]', columns=100)

    assert text.replace("\\\\", "\\") in printed
    assert "\x1b" not in OWN_STYLE.sub("", printed)


def test_escape_sequence_of_a_stored_text_does_not_reach_the_terminal() -> None:
    printed = printed_on_terminal('[{"event_id": "\\u001b]0;owned\\u0007\\u009b31m"}]', columns=100)

    assert "owned" in printed
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", OWN_STYLE.sub("", printed))
