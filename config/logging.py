"""Configures logging: one JSON object for each line (or text for people), ids as fields.

API and worker configure it once at start. Callers must never log bodies, keys or signatures.
"""

import logging
import sys
from io import StringIO
from typing import TextIO

import structlog

from config.fields import LogFormat, LogLevel
from domain.values.text import one_line, readable

_LEVELS: dict[LogLevel, int] = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
# Libraries that log each request or statement at INFO.
_QUIETER: dict[str, int] = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "alembic": logging.WARNING,
    "uvicorn.access": logging.WARNING,
}


def configure_logging(level: LogLevel, log_format: LogFormat, *, role: str) -> None:
    """Write the logs of Makegood and its libraries to standard output, in one format.

    `role` (api, worker) is a field of every line.
    """
    shared: tuple[structlog.typing.Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _with_role(role),
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # ExtraAdder: the fields of records from `logging`, which libraries use.
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _without_colors, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(log_format),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=_LEVELS[level], force=True)
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, _LEVELS[level]))


def silence_logging() -> None:
    """Write no logs of Makegood: commands print what they found. Services configure them later."""
    structlog.configure(processors=[_drop])


def _drop(_: object, __: str, ___: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent


def _rendering(log_format: LogFormat) -> tuple[structlog.typing.Processor, ...]:
    match log_format:
        case LogFormat.JSON:
            return structlog.processors.format_exc_info, structlog.processors.JSONRenderer()
        case LogFormat.CONSOLE:
            render = structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=_traceback
            )
            return _on_one_line, render


def _on_one_line(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape texts, so that text from outside cannot forge a line or move the cursor.

    Not needed for JSON, which escapes by itself, nor for other values, which are logged by `repr`.
    """
    return {
        name: one_line(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a plain traceback: framed ones print the values of variables, such as secrets."""
    written = StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    stream.write(readable(written.getvalue()))


def _without_colors(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Remove uvicorn's second, colored copy of its message."""
    event.pop("color_message", None)
    return event


def _with_role(role: str) -> structlog.typing.Processor:
    def add(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("role", role)
        return event

    return add
