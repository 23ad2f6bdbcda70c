"""Fixtures of the OIDC tests: a user with an account, and browsers at provider and console."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from api.console.composition import ConsoleDependencies
from domain.users import User
from store.db.database import Database
from store.people import users
from tests.console.conftest import EMAIL, visiting
from tests.console.oidc_browsers import OidcBrowsers, oidc_provider_at
from tests.console.provider import providing


@pytest.fixture
async def nadia(database: Database) -> User:
    """A user with an account."""
    async with database.transaction() as session:
        now = await database.now(session)
        user = await users.redeem_login_link(
            session, token=await users.create_login_link(session, now=now), now=now
        )
        assert user is not None
        await session.execute(text("UPDATE users SET email = :email"), {"email": EMAIL})
        return user


@pytest.fixture
async def browsers(parts: ConsoleDependencies, nadia: User) -> AsyncIterator[OidcBrowsers]:
    async with providing() as (provider, at_provider):
        with_issuer = replace(parts, oidc_provider=oidc_provider_at(provider.issuer))
        async with visiting(with_issuer) as visitor:
            yield OidcBrowsers(provider, at_provider, visitor)
