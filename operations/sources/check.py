"""Asks the provider of a listing whether its key works: one request, for one event.

Nothing of the provider's text is shown: it may quote the key.
"""

from dataclasses import dataclass

from domain.retries import ErrorClass
from domain.sources.source import Source, SourceKind
from egress.policy import Network
from egress.provider_api import (
    ProviderAnswer,
    ProviderUrls,
    credentials,
    get_json,
    provider_transport,
)
from egress.transport import ExchangeFailed

CHECK_SECONDS = 10
# One event is at most so large; Stripe's are below 100 KiB.
CHECK_BYTES = 4 * 1024 * 1024
_NO_ANSWER = {
    ErrorClass.NO_PERMITTED_ADDRESS: "the provider's host has no address that may be called",
    ErrorClass.CONNECT_FAILED: "the provider took no connection",
    ErrorClass.TLS_FAILED: "the provider's certificate could not be verified",
    ErrorClass.TIMEOUT: f"the provider did not answer within {CHECK_SECONDS} s",
    ErrorClass.CONNECTION_RESET: "the connection broke before the answer was complete",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of the request. `status` is the provider's HTTP status; None without an answer.

    `detail` is a sentence for people.
    """

    ok: bool
    detail: str
    status: int | None = None


class ProviderCheck:
    """Asks providers. `allow` are the ranges that may be called: of a live, of a test project."""

    def __init__(
        self,
        *,
        urls: ProviderUrls = ProviderUrls(),  # noqa: B008 - frozen
        allow_live: tuple[Network, ...] = (),
        allow_test: tuple[Network, ...] = (),
    ) -> None:
        self._urls, self._allow = urls, {True: allow_live, False: allow_test}

    async def ask(self, source: Source, secret: str, *, livemode: bool) -> Asked:
        """List one event with the source's key. Never raises for what the provider does."""
        transport = provider_transport(
            allow=self._allow[livemode], timeout_seconds=CHECK_SECONDS, maximum_bytes=CHECK_BYTES
        )
        url = f"{self._urls.of_events(source)}?{_one_event(source)}"
        try:
            answer = await get_json(transport, url, credentials(source, secret))
        except ExchangeFailed as failure:
            reason = _NO_ANSWER.get(failure.error_class, "the provider's answer is no HTTP")
            return Asked(ok=False, detail=f"No answer: {reason}.")
        return judge(source, answer)


def judge(source: Source, answer: ProviderAnswer) -> Asked:
    """What the provider's answer means for the source."""
    status, name = answer.status, source.kind.provider.value.capitalize()
    if 200 <= status < 300:
        if _is_list(source, answer.json):
            return Asked(True, f"{name} answered, and the key may read what is listed.", status)
        return Asked(False, f"{name} answered with something that is no list of events.", status)
    match status:
        case 401:
            detail = f"{name} refuses the key: it is wrong, expired or revoked."
        case 403:
            detail = f"{name} refuses the key: it may not read {_what(source)}."
        case 404:
            detail = f"{name} knows no such {'account' if source.account else 'shop or address'}."
        case 429:
            detail = f"{name} limits our requests now. The key may be good: try again later."
        case _ if 300 <= status < 400:
            detail = f"{name} redirects to another address, which is not followed."
        case _:
            detail = f"{name} answered with the status {status}."
    return Asked(False, detail, status)


def _one_event(source: Source) -> str:
    if source.kind is SourceKind.STRIPE_API:
        return "limit=1"
    return "limit=1&status=any&fields=id"


def _what(source: Source) -> str:
    return "events" if source.kind is SourceKind.STRIPE_API else "orders"


def _is_list(source: Source, answer: object) -> bool:
    name = "data" if source.kind is SourceKind.STRIPE_API else "orders"
    return isinstance(answer, dict) and isinstance(answer.get(name), list)
