"""Applications of tests are built quickly: FastAPI analyses each function once a process.

Otherwise it analyses each route again for each application, which takes most of such a test.
"""

from collections.abc import Hashable
from dataclasses import replace
from types import FunctionType, MethodType
from typing import Any

import pytest
from fastapi import routing
from fastapi.dependencies import utils
from fastapi.dependencies.models import Dependant


def share_analyses(patch: pytest.MonkeyPatch) -> None:
    """Let all applications share what FastAPI found out about functions.

    A method, and a function within a function, is of one application. Only the analysis of its
    code is shared: neither is kept.
    """
    analyse = utils.get_dependant
    shared: dict[Hashable, Dependant] = {}

    def get_dependant(**values: Any) -> Dependant:
        call = values["call"]
        lists = {name: value for name, value in values.items() if isinstance(value, list)}
        if any(lists.values()):
            return analyse(**values)
        key = (_code_of(call), frozenset((values | dict.fromkeys(lists, ()) | {"call": 0}).items()))
        if (found := shared.get(key)) is None:
            found = shared[key] = replace(analyse(**values), call=None)
        # A route inserts dependencies of its own.
        return replace(found, call=call, dependencies=list(found.dependencies))

    patch.setattr(utils, "get_dependant", get_dependant)
    patch.setattr(routing, "get_dependant", get_dependant)


def _code_of(call: Any) -> Hashable:
    """All that the analysis of a function reads; another callable is its own."""
    function = call.__func__ if isinstance(call, MethodType) else call
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return (type(call), call)
    return (
        type(call),
        function.__module__,
        function.__code__,
        function.__defaults__,
        frozenset((function.__kwdefaults__ or {}).items()),
        frozenset(function.__annotations__.items()),
    )
