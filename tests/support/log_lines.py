"""Log lines as the API and the worker write them."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from config.fields import LogFormat, LogLevel
from config.logging import configure_logging

# Any: the JSON of a log line.
ReadLines = Callable[[str], list[dict[str, Any]]]


@contextmanager
def written_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadLines]:
    """The JSON lines with the given event that were written in the block so far."""
    written = io.StringIO()
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr("sys.stdout", written)
    configure_logging(LogLevel.INFO, LogFormat.JSON, role="api")
    # A cached logger would keep this configuration after the block.
    structlog.configure(cache_logger_on_first_use=False)
    try:
        yield lambda event: [
            line
            for line in map(json.loads, written.getvalue().splitlines())
            if line["event"] == event
        ]
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**before)
