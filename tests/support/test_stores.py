"""What `make test` runs above the store: SQLite, and the stores that a test names itself."""

import pytest

from tests.support.stores import is_repetition

API, STORE = "tests/api/rest/test_routes.py::test_it", "tests/store/people/test_users.py::test_it"


@pytest.mark.parametrize(
    ("nodeid", "params", "chosen", "expected"),
    [
        (API, {"database_url": "postgresql", "name": "a"}, set(), True),
        (API, {"database_url": "sqlite", "name": "a"}, set(), False),
        (API, {"database_url": "postgresql"}, {"database_url"}, False),
        (API, {"served": "postgresql"}, set(), True),
        (API, {"name": "postgresql"}, set(), False),
        (STORE, {"database_url": "postgresql"}, set(), False),
    ],
    ids=["second", "first", "named by the test", "served", "another parameter", "of the store"],
)
def test_second_store_is_a_repetition_above_the_store_only(
    nodeid: str, params: dict[str, object], chosen: set[str], expected: bool
) -> None:
    assert is_repetition(nodeid, params, chosen) is expected
