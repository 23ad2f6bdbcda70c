"""Browsers of a person at an identity provider and at the console, for tests of OIDC."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network

import httpx

from api.console.sign_in.oidc_provider import OidcClient, OidcProvider
from egress.transport import GuardedTransport
from tests.console.conftest import Visitor
from tests.console.provider import CLIENT_ID, CLIENT_SECRET, Json, Provider

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass(frozen=True, slots=True)
class OidcBrowsers:
    """A provider, and a person's browsers there and at the console."""

    provider: Provider
    at_provider: httpx.AsyncClient
    visitor: Visitor

    async def leave(self, path: str = "/login/oidc") -> str:
        """The callback address that the provider redirects the browser to."""
        away = await self.visitor.open(path)
        assert away.status_code == 303, away.text
        back = await self.at_provider.get(away.headers["location"])
        assert back.status_code == 302, back.text
        return back.headers["location"]

    async def sign_in(self, path: str = "/login/oidc") -> httpx.Response:
        return await self.visitor.open(await self.leave(path))

    async def is_in(self) -> bool:
        return (await self.visitor.open("/incidents")).status_code == 200


def oidc_provider_at(
    url: str, *, transport: httpx.AsyncBaseTransport | None = None
) -> OidcProvider:
    client = OidcClient(url, CLIENT_ID, CLIENT_SECRET)
    return OidcProvider(
        client,
        public_url="http://makegood.example",
        transport=transport or GuardedTransport(allow=LOOPBACK),
    )


def changed_claims(**claims: object) -> Callable[[Json], Json]:
    """Valid claims with these changes. None removes a claim."""
    return lambda right: {
        name: value for name, value in {**right, **claims}.items() if value is not None
    }
