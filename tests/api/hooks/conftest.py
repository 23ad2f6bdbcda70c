"""An API on each store, with a source of Stripe's webhooks and one of Shopify's."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api.app import create_app
from domain.projects import CreatedProject
from domain.sources.source import SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.hooks.provider import Provider
from tests.api.serving import parts_on, serving
from tests.support.sources import stored_source


@pytest.fixture
async def client(database: Database, sealer: Sealer) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(parts_on(database, sealer))) as client:
        yield client


@pytest.fixture
async def stripe(
    client: httpx.AsyncClient, database: Database, sealer: Sealer, project: CreatedProject
) -> Provider:
    return Provider(client, await stored_source(database, sealer, project.project.id))


@pytest.fixture
async def shopify(
    client: httpx.AsyncClient, database: Database, sealer: Sealer, project: CreatedProject
) -> Provider:
    kind = SourceKind.SHOPIFY_WEBHOOK
    return Provider(client, await stored_source(database, sealer, project.project.id, kind))
