"""A log line is one line, in both formats, whatever is in it."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings

from config.fields import LogFormat, LogLevel
from config.logging import configure_logging
from tests.domain.values.test_text import ANY_TEXT, is_control

FIXTURE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def logged(monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, text: str) -> str:
    """The log lines of our own event, a library's event and a failure, each with this text."""
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr("sys.stdout", written)
    try:
        configure_logging(LogLevel.INFO, log_format, role="worker")
        structlog.get_logger("ours").info("happened", reason=text, parts=[text])
        fields = {"cause": text, "color_message": text}
        logging.getLogger("library").warning("said %s", text, extra=fields)
        try:
            raise ValueError(text)
        except ValueError:
            structlog.get_logger("ours").exception("broken")
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**before)
    written.flush()
    return written.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]  # a BytesIO


@FIXTURE
@given(text=ANY_TEXT)
@example(text="x\n2026-11-23 [info] paid\x1b[2J\x9b\u2028\ud83d")
def test_json_line_is_one_object(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    lines = logged(monkeypatch, LogFormat.JSON, text).splitlines()

    ours, library, broken = map(json.loads, lines)
    assert (ours["reason"], library["event"], broken["event"]) == (text, f"said {text}", "broken")
    assert library["cause"] == text
    assert "color_message" not in library


@FIXTURE
@given(text=ANY_TEXT)
@example(text="x\n2026-11-23 [info] paid\x1b[2J\x9b\u2028\ud83d")
def test_console_line_cannot_forge_a_line_or_move_the_cursor(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    written = logged(monkeypatch, LogFormat.CONSOLE, text)

    assert not any(is_control(character) for character in written if character not in "\n\t")
    ours, library = written.split("\n")[:2]
    assert "happened" in ours
    assert "said" in library
