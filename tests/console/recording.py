"""Records what a request of the console costs: its SQL statements and the forms that it parses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def recorded_statements(statements: list[str]) -> Iterator[None]:
    """Append every SQL statement of this block to the list: the console runs in this task."""

    def record(_: Any, __: Any, sql: str, *___: Any) -> None:
        statements.append(sql)

    statements.clear()
    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", record)


@contextmanager
def recorded_forms(forms: list[str]) -> Iterator[None]:
    """Append every form that is parsed in this block to the list: the console runs in this thread.

    Queries are parsed by the same function. A form is what has a token.
    """

    def record(frame: FrameType, what: str, _: Any) -> None:
        if what == "call" and frame.f_code is parse_qsl.__code__:
            parsed = str(frame.f_locals["qs"])
            if "form_token=" in parsed:
                forms.append(parsed)

    forms.clear()
    before = sys.getprofile()
    sys.setprofile(record)
    try:
        yield
    finally:
        sys.setprofile(before)
