"""Errors of options are plain sentences, without the words of the library that validates them."""

import pytest
from typer.testing import CliRunner

from cli.main import app

SEND = ("receipt", "send", "--key", "k", "--event-id", "e", "--reference", "r")
SEND = (*SEND, "--event-type", "invoice.paid", "--effect-type", "credit_grant")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("incident", "list", "--state", "nope"),
            "'--state': 'nope' is not one of 'open', 'repairing', 'resolved'.",
        ),
        (
            ("result", "send", "--status", "nope"),
            "'--status': 'nope' is not one of 'success', 'failed'.",
        ),
        (
            ("project", "create", "a", "--mode", "nope"),
            "'--mode': 'nope' is not one of 'test', 'live'.",
        ),
        (
            ("key", "create", "default", "--label", "x", "--scope", "nope"),
            "'--scope': 'nope' is not one of 'ingest', 'read', 'operate', 'admin'.",
        ),
        (("receipt", "list", "--limit", "x"), "'--limit': Must be a whole number."),
        (("incident", "list", "--limit", "1.5"), "'--limit': Must be a whole number."),
        (("audit", "list", "--limit", "0"), "'--limit': Must be at least 1."),
        (("receipt", "list", "--limit", "101"), "'--limit': Must be at most 100."),
        (
            ("receipt", "list", "--limit", "9" * 5_000),
            "'--limit': Must be a whole number of fewer digits.",
        ),
        ((*SEND, "--timeout-minutes", "x"), "'--timeout-minutes': Must be a number."),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_error_of_an_option_is_a_plain_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})

    assert (done.exit_code, done.stdout) == (2, "")
    assert f"Invalid value for {sentence}" in done.stderr
    assert "Value error" not in done.stderr
    assert "Input should" not in done.stderr
