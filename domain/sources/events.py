"""An event as a provider tells of it, and the receipts that a source expects for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.ids import SourceId
from domain.receipts import MAXIMUM_AMOUNT, ExpectedReceipt, Provider
from domain.sources.source import Expects, Source, SourceKind


class NotAnEvent(ValueError):
    """The provider's JSON is no event that a source can keep. The message never quotes it."""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event at the provider, the same from a webhook as from a listing.

    `id` is what the app sends as `provider_event_id`. `references` has the `internal_reference` of
    each pointer that some `Expects` of the source names, and that of None, the type's default.
    `amount` is in the minor unit of `currency`; both are None if the event has none.
    """

    id: str
    type: str
    livemode: bool
    occurred_at: datetime
    references: dict[str | None, str]
    amount: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class SeenBy:
    """A source that saw an event. `occurred_at` is the instant at the provider."""

    source_id: SourceId
    name: str
    kind: SourceKind | str
    occurred_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """An event that a source saw, and what it expects of the app because of it."""

    event: ProviderEvent
    receipt: ExpectedReceipt


def sightings_of(source: Source, events: Sequence[ProviderEvent]) -> list[Sighting]:
    """What the source expects for these events: nothing, or a receipt for each effect.

    An event older than the source, or than what expects it, makes nothing. Neither does one of the
    other mode, or of a type not expected. Providers tell the second of an event, so one in the
    second from which on it is expected counts.
    """
    return [
        Sighting(event, _expected_receipt(source, expects, event))
        for event in events
        for expects in source.expects
        if (expects.event_type, expects.livemode) == (event.type, event.livemode)
        and event.occurred_at >= source.expected_since(expects).replace(microsecond=0)
    ]


def _expected_receipt(source: Source, expects: Expects, event: ProviderEvent) -> ExpectedReceipt:
    provider = source.kind.provider
    amount, currency = _known_amount(event.amount, event.currency)
    return ExpectedReceipt(
        project_id=source.project_id,
        livemode=event.livemode,
        provider=provider,
        provider_event_id=event.id,
        stripe_event_id=event.id if provider is Provider.STRIPE else None,
        event_type=event.type,
        effect_type=expects.effect_type,
        internal_reference=event.references.get(expects.reference) or event.id,
        shopify_shop_domain=source.shop_domain,
        occurred_at=event.occurred_at,
        within_minutes=expects.within_minutes,
        source_id=source.id,
        amount=amount,
        currency=currency,
    )


def _known_amount(amount: int | None, currency: str | None) -> tuple[int | None, str | None]:
    """Both, or neither: an amount of no currency that we know, or out of range, is no amount."""
    if amount is None or currency is None or not 0 <= amount <= MAXIMUM_AMOUNT:
        return None, None
    is_code = len(currency) == 3 and currency.isascii() and currency.isalpha()
    return (amount, currency.upper()) if is_code else (None, None)
