"""Sends one POST of an alert through the egress guard, and judges the answer.

1. 2xx: the other side accepted it.
2. No answer, 408, 429 and 5xx: it may accept it later. `Retry-After` of a 429 or 503 is kept.
3. 400, 413 and 422: it refuses the contents, and may accept the plain message.
4. Everything else, every redirect among it, refuses for good.

No error contains the URL. An excerpt of the answer is kept on one line, without what is secret.
"""

import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx

from activities.alerts.channels import AlertNotDelivered, ChannelAnswer
from domain.retries import RETRY_AFTER_STATUSES, ErrorClass
from domain.values.text import one_line
from egress.policy import Network, UnsafeUrl
from egress.resolver import Resolver, resolve_name
from egress.retry_after import read_retry_after
from egress.transport import ExchangeFailed, GuardedTransport, failed, parse_permitted_url

# With a second POST of the plain message, within the limit of an alert.
POST_SECONDS = 6.0
ANSWER_BYTES = 4_096
EXCERPT_CHARACTERS = 300
_CONTENT_REFUSED = frozenset({400, 413, 422})
_RETRIED = frozenset({408, 429})
_FIXED_HEADERS = (("User-Agent", "Makegood"), ("Content-Type", "application/json"))
# A code such as Slack's `invalid_payload`. Other text of an answer is in no stored error.
_SEPARATORS = re.compile(r"[/?&=]")
SHORTEST_SECRET = 8
_CODE = re.compile(r"[a-z]+(_[a-z]+)+")

Headers = Sequence[tuple[str, str]]


class HttpPost:
    """Makes the POSTs of all alert channels. `allow` are the private ranges that may be called."""

    def __init__(
        self,
        *,
        allow: tuple[Network, ...],
        timeout_seconds: float = POST_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver = resolve_name,
    ) -> None:
        self._allow = allow
        self._timeout_seconds = timeout_seconds
        self._ssl_context = ssl_context
        self._resolver = resolver

    async def __call__(
        self, url: str, body: bytes, *, secrets: Sequence[str] = (), headers: Headers = ()
    ) -> ChannelAnswer:
        """The answer that accepts the body. The URL and `secrets` are cut out of its excerpt.

        Raises: AlertNotDelivered.
        """
        try:
            response = await self._post(url, body, headers)
        except (ExchangeFailed, UnsafeUrl) as error:
            failure = error if isinstance(error, ExchangeFailed) else failed(error)
            is_silent = failure.error_class is ErrorClass.TIMEOUT
            raise AlertNotDelivered(str(failure.error_class), is_silent=is_silent) from None
        answer = ChannelAnswer(
            response.status_code, _excerpt(response.content, [*secrets, *_secrets_of(url)])
        )
        if not 200 <= answer.status < 300:
            raise refusal(answer, retry_after=response.headers.get("retry-after"))
        return answer

    async def _post(self, url: str, body: bytes, headers: Headers) -> httpx.Response:
        transport = GuardedTransport(
            allow=self._allow,
            keeps_body=False,
            excerpt_bytes=ANSWER_BYTES,
            timeout_seconds=self._timeout_seconds,
            max_body_bytes=ANSWER_BYTES,
            ssl_context=self._ssl_context,
            resolver=self._resolver,
        )
        # Parsed by the egress guard before httpx parses it.
        permitted = parse_permitted_url(url, self._allow).canonical
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False
        ) as client:
            return await client.post(permitted, headers=[*_FIXED_HEADERS, *headers], content=body)


def refusal(answer: ChannelAnswer, *, retry_after: str | None = None) -> AlertNotDelivered:
    """What an answer that does not accept the alert means."""
    status = answer.status
    asked = None
    if status in RETRY_AFTER_STATUSES:
        asked = read_retry_after(retry_after, now=datetime.now(UTC))
    is_retried = status in _RETRIED or not 200 <= status <= 499
    code = f": {answer.excerpt}" if _CODE.fullmatch(answer.excerpt) else ""
    return AlertNotDelivered(
        f"HTTP {status}{code[:80]}",
        is_permanent=not is_retried,
        is_content_refused=status in _CONTENT_REFUSED,
        retry_after_seconds=asked,
        answer=answer,
    )


def _secrets_of(url: str) -> list[str]:
    """The URL and what is long in its path and query: a receiver may repeat a part of it."""
    _, _, rest = url.partition("://")
    parts = _SEPARATORS.split(rest.partition("/")[2])
    return [url, *(part for part in parts if len(part) >= SHORTEST_SECRET)]


def _excerpt(content: bytes, secrets: Sequence[str]) -> str:
    text = content.decode("utf-8", errors="replace")
    for secret in secrets:
        text = text.replace(secret, "…")
    return one_line(text, longest=EXCERPT_CHARACTERS)
