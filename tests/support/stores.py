"""The stores that a test runs on in `make test`; on the others it is long.

1. Tests of SQL (`tests/store`) run on SQLite and on PostgreSQL.
2. Tests of what lies above the store run on SQLite. On PostgreSQL only `make faults` runs them.
3. A test or file marked `both_stores` runs on both: its behaviour depends on the database.
4. A test that names its stores itself, by `parametrize("database_url", ...)`, runs on these.
"""

from collections.abc import Mapping, Set

import pytest

FIRST_STORE = "sqlite"
STORE_FIXTURES = ("database_url", "served")
ABOVE_THE_STORE = tuple(
    f"tests/{folder}/" for folder in ("activities", "api", "cli", "console", "lives", "worker")
)


def is_repeated_on_another_store(item: pytest.Item) -> bool:
    """Whether the item repeats, on the second store, a test that needs only one of them."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or item.get_closest_marker("both_stores") is not None:
        return False
    chosen = {mark.args[0] for mark in item.iter_markers("parametrize")}
    return is_repetition(item.nodeid, callspec.params, chosen)


def is_repetition(nodeid: str, params: Mapping[str, object], chosen: Set[str]) -> bool:
    """Whether the test has the second store; `chosen` are the parameters that it names itself."""
    if not nodeid.startswith(ABOVE_THE_STORE):
        return False
    stores = [params[name] for name in STORE_FIXTURES if name in params and name not in chosen]
    return any(store != FIRST_STORE for store in stores)
