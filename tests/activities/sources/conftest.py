"""A provider, and sources that list it."""

from collections.abc import Iterator

import pytest

from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.activities.sources.listing_setup import Listings
from tests.support.provider import Provider, providing


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def listings(
    database: Database, sealer: Sealer, project: CreatedProject, provider: Provider
) -> Listings:
    return Listings(database, sealer, project.project.id, provider)
