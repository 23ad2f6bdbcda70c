"""The stores that a test runs on in `make test`; on the others it is long.

1. Tests of SQL (`tests/store`) run on SQLite and on PostgreSQL.
2. Tests of what lies above the store run on SQLite. On PostgreSQL only `make faults` runs them.
3. A test or file marked `both_stores` runs on both: its behaviour depends on the database.
4. A test that names its stores itself, by `parametrize("database_url", ...)`, runs on these.
"""

import pytest

FIRST_STORE = "sqlite"
STORE_FIXTURES = ("database_url", "served")
ABOVE_THE_STORE = tuple(
    f"tests/{folder}/" for folder in ("activities", "api", "cli", "console", "lives", "worker")
)


def is_repeated_on_another_store(item: pytest.Item) -> bool:
    """Whether the item repeats, on the second store, a test that needs only one of them."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not item.nodeid.startswith(ABOVE_THE_STORE):
        return False
    if item.get_closest_marker("both_stores") is not None:
        return False
    chosen = {mark.args[0] for mark in item.iter_markers("parametrize")}
    stores = {name: callspec.params[name] for name in STORE_FIXTURES if name in callspec.params}
    return any(name not in chosen and store != FIRST_STORE for name, store in stores.items())
