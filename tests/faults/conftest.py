"""What several fault tests ask for."""

import pytest


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.long)])
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty, migrated database: SQLite, and PostgreSQL in `make faults`."""
    url: str = request.getfixturevalue(request.param)
    return url
