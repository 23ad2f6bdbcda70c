"""Makes one request for a page, through the egress guard."""

import ssl
from collections.abc import Mapping

from egress.policy import Network
from egress.provider_api import ProviderAnswer, get_json, provider_transport

REQUEST_SECONDS = 20.0
# A hundred events are some 500 KB. Of a longer page, fewer events are asked for.
PAGE_BYTES = 8 * 1024 * 1024


async def get_page(
    url: str,
    headers: Mapping[str, str],
    *,
    livemode: bool,
    allow: tuple[Network, ...],
    allow_test: tuple[Network, ...] = (),
    ssl_context: ssl.SSLContext | None = None,
) -> ProviderAnswer:
    """The provider's answer. `allow_test` are further ranges for sources of test projects.

    Raises: ExchangeFailed.
    """
    transport = provider_transport(
        allow=allow if livemode else (*allow, *allow_test),
        timeout_seconds=REQUEST_SECONDS,
        maximum_bytes=PAGE_BYTES,
        ssl_context=ssl_context,
    )
    return await get_json(transport, url, headers)
