"""Asks a payment provider for JSON, through the egress guard: one GET, no redirect, bounded bytes.

The hosts are Stripe's, or the shop's of a Shopify source. `ProviderUrls` can name others: the
provider of the tests, or a proxy. Used by the check of a source, and by listings.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import httpx

from domain.retries import ErrorClass
from domain.sources.events import NotAnEvent
from domain.sources.json_body import read_json
from domain.sources.source import Source, SourceKind
from egress.policy import Network
from egress.retry_after import read_retry_after
from egress.transport import ExchangeFailed, GuardedTransport

STRIPE_URL = "https://api.stripe.com"
SHOPIFY_API_VERSION = "2025-10"
LONGEST_LINK = 8_192
_FIXED_HEADERS = {"User-Agent": "Makegood", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class ProviderUrls:
    """Where the providers answer, without a slash at the end.

    `shopify` None: each source's own shop.
    """

    stripe: str = STRIPE_URL
    shopify: str | None = None

    @classmethod
    def given(cls, *, stripe: str | None, shopify: str | None) -> Self:
        """The addresses of the settings; None is the provider's own."""
        return cls(stripe or STRIPE_URL, shopify)

    def of_events(self, source: Source) -> str:
        """The address that lists the events, or the orders, of an API source."""
        if source.kind is SourceKind.STRIPE_API:
            return f"{self.stripe}/v1/events"
        shop = self.shopify or f"https://{source.shop_domain}"
        return f"{shop}/admin/api/{SHOPIFY_API_VERSION}/orders.json"


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A complete answer. `json` is None if the body is no JSON.

    `link` is the Link header, None if it is absent. One that is absurdly long is cut to a character
    more than `LONGEST_LINK`. `retry_after_seconds` is None if that header is absent or malformed.
    """

    status: int
    json: object
    link: str | None
    retry_after_seconds: int | None


def credentials(source: Source, secret: str) -> Mapping[str, str]:
    """The headers that show the provider who asks. Never log them."""
    if source.kind is SourceKind.SHOPIFY_API:
        return {"X-Shopify-Access-Token": secret}
    account = {} if source.account is None else {"Stripe-Account": source.account}
    return {"Authorization": f"Bearer {secret}", **account}


def provider_transport(
    *,
    allow: tuple[Network, ...],
    timeout_seconds: float,
    maximum_bytes: int,
    ssl_context: ssl.SSLContext | None = None,
) -> GuardedTransport:
    """A transport for `get_json`. A longer answer, or a slower one, fails."""
    return GuardedTransport(
        allow=allow,
        timeout_seconds=timeout_seconds,
        max_body_bytes=maximum_bytes,
        ssl_context=ssl_context,
    )


async def get_json(
    transport: httpx.AsyncBaseTransport, url: str, headers: Mapping[str, str]
) -> ProviderAnswer:
    """GET the URL and read its JSON, whatever the status.

    Raises: ExchangeFailed: no complete answer came, or the address is refused. Its text has neither
        the URL nor a header.
    """
    try:
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False
        ) as client:
            response = await client.get(url, headers={**_FIXED_HEADERS, **headers})
    except httpx.InvalidURL:
        raise ExchangeFailed(ErrorClass.NO_PERMITTED_ADDRESS, "refused_address") from None
    link = response.headers.get("link")
    return ProviderAnswer(
        status=response.status_code,
        json=_read_json(response.content),
        link=None if link is None else link[: LONGEST_LINK + 1],
        retry_after_seconds=read_retry_after(
            response.headers.get("retry-after"), now=datetime.now(UTC)
        ),
    )


def _read_json(body: bytes) -> object:
    """The JSON of the body. A bad byte, or a number of thousands of digits, spoils its field only.

    A bad byte becomes a lone surrogate: no id or name is taken that has one.
    """
    try:
        return read_json(body)
    except NotAnEvent:
        pass
    try:
        return read_json(body.decode("utf-8", "surrogateescape"))
    except NotAnEvent:
        return None
