"""Applications of tests are built quickly: FastAPI analyses each function once a process.

It analyses every route twice for each application otherwise, which takes a third of such a test.
"""

from dataclasses import replace
from functools import cache, lru_cache
from types import MethodType
from typing import Any

import pytest
from fastapi import routing
from fastapi.dependencies import utils
from fastapi.dependencies.models import Dependant


def share_analyses(patch: pytest.MonkeyPatch) -> None:
    """Let all applications share what FastAPI found out about functions.

    A method is of one application, so only what it depends on is shared.
    """
    analyse = utils.get_dependant
    shared = lru_cache(maxsize=1_024)(lambda key: analyse(**dict(key)))

    def get_dependant(**values: Any) -> Dependant:
        if isinstance(values["call"], MethodType):
            return analyse(**values)
        lists = {name: value for name, value in values.items() if isinstance(value, list)}
        key = frozenset((values | dict.fromkeys(lists, ())).items())
        found: Dependant = analyse(**values) if any(lists.values()) else shared(key)
        return replace(found, dependencies=list(found.dependencies))  # a route inserts its own

    patch.setattr(utils, "get_typed_signature", cache(utils.get_typed_signature))
    patch.setattr(utils, "get_dependant", get_dependant)
    patch.setattr(routing, "get_dependant", get_dependant)
