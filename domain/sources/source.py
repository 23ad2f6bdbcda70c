"""A source: what watches one account of a provider, and which of its events the app must report.

Never reads a clock or the store. `store.sources` keeps it.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.ids import ProjectId, SourceId
from domain.receipts import Provider

MAXIMUM_EXPECTS = 50
MAXIMUM_SOURCES = 50
DEFAULT_WITHIN_MINUTES = 15.0
DEFAULT_EVERY_MINUTES = 5
LISTING_OVERLAP = timedelta(hours=1)
LISTING_HORIZON = timedelta(days=30)


_ID = re.compile(r"src_[0-9a-f]{32}")


class SourceKind(StrEnum):
    """How a source learns of events: `webhook` is told of them, `api` lists them."""

    STRIPE_WEBHOOK = "stripe_webhook"
    STRIPE_API = "stripe_api"
    SHOPIFY_WEBHOOK = "shopify_webhook"
    SHOPIFY_API = "shopify_api"

    @property
    def provider(self) -> Provider:
        is_stripe = self in {SourceKind.STRIPE_WEBHOOK, SourceKind.STRIPE_API}
        return Provider.STRIPE if is_stripe else Provider.SHOPIFY

    @property
    def is_webhook(self) -> bool:
        return self in {SourceKind.STRIPE_WEBHOOK, SourceKind.SHOPIFY_WEBHOOK}


WEBHOOK_KINDS = tuple(kind.value for kind in SourceKind if kind.is_webhook)
API_KINDS = tuple(kind.value for kind in SourceKind if not kind.is_webhook)


class SourceState(StrEnum):
    """What an operator sees of a source's health."""

    NEW = "new"
    """It has received and listed nothing yet."""
    HEALTHY = "healthy"
    SILENT = "silent"
    """It should have received an event, and did not."""
    FAILING = "failing"
    """Its newest listing, or its newest deliveries, failed: `problem` says why."""
    PAUSED = "paused"


class SourceProblem(StrEnum):
    """Why a source is failing."""

    KEY_REFUSED = "key_refused"
    """The provider refuses the key: 401 or 403."""
    THROTTLED = "throttled"
    """The provider answers 429 for longer than a listing may wait."""
    UNREACHABLE = "unreachable"
    """No answer, or 5xx."""
    BAD_ANSWER = "bad_answer"
    """The answer is no list of events, is too large, or has events that cannot be right, such as
    events of the future. Of a webhook: a delivery is no event."""
    ENDLESS_PAGES = "endless_pages"
    """The pages repeat: the provider says that there is more, and gives nothing new."""
    BAD_SIGNATURE = "bad_signature"
    """Deliveries came, and no signature fits the secret."""
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - no secret
    """The stored secret cannot be decrypted."""
    NOT_LISTED = "not_listed"
    """No listing has ended or stored a page for three intervals, an hour at least."""


class ShopifyIdentity(StrEnum):
    """What the app sends as `provider_event_id` for Shopify.

    A source of orders knows the order's id only, so `object_id` lets both kinds see one event.
    """

    OBJECT_ID = "object_id"
    """The `id` of the order, customer or checkout, as digits."""
    EVENT_ID = "event_id"
    """The header `X-Shopify-Event-Id`: for a webhook only."""
    WEBHOOK_ID = "webhook_id"
    """The header `X-Shopify-Webhook-Id`: for a webhook only."""


@dataclass(frozen=True, slots=True)
class Expects:
    """A type of event that the app must send a receipt for.

    `within_minutes`: the time for that. `reference`: a JSON pointer into the event, to the
    `internal_reference` of its incident; None: the type's default. Events of the other mode than
    `livemode` make nothing. Neither do events from before `since`, when the pair of types was added
    to the source; None: it was there when the source was added.
    """

    event_type: str
    effect_type: str
    within_minutes: float
    reference: str | None
    livemode: bool
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A stored source, without its secret.

    `every_minutes` is None for a webhook. `silent_after_minutes` None: it is never silent.
    `shop_domain` is set for Shopify. `account` is the connected account whose events it lists
    (Stripe Connect); None: the key's own.
    `last_event_at`: when it last received an event or listed one. `last_listed_at`: when its last
    listing ended well. `listed_until`: all events up to then are stored. `problem` and
    `problem_since`: since when it is failing, None if it is not. `resumed_at`: when its last pause,
    or the suspension of its project, ended; silence counts from then on. `is_scheduled`: its
    Schedule at Temporal follows its last change; a webhook has none to wait for.
    `schedule_retry_at`: when that is tried again, after it failed.
    """

    id: SourceId
    project_id: ProjectId
    kind: SourceKind
    name: str
    expects: tuple[Expects, ...]
    every_minutes: int | None
    silent_after_minutes: int | None
    shop_domain: str | None
    account: str | None
    identity: ShopifyIdentity
    created_at: datetime
    paused_at: datetime | None
    last_event_at: datetime | None
    last_listed_at: datetime | None
    listed_until: datetime | None
    silent_since: datetime | None
    problem: SourceProblem | str | None
    problem_detail: str | None
    problem_since: datetime | None
    resumed_at: datetime | None = None
    is_scheduled: bool = True
    schedule_retry_at: datetime | None = None

    def expected_since(self, expects: Expects) -> datetime:
        """The instant from which on its events are expected."""
        return expects.since or self.created_at

    @property
    def state(self) -> SourceState:
        if self.paused_at is not None:
            return SourceState.PAUSED
        if self.problem is not None:
            return SourceState.FAILING
        if self.silent_since is not None:
            return SourceState.SILENT
        seen_at = self.last_event_at or self.last_listed_at
        return SourceState.NEW if seen_at is None else SourceState.HEALTHY


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of time whose events a source did not list, and cannot list any more."""

    from_at: datetime
    until_at: datetime
    found_at: datetime


def is_source_id(text: str) -> bool:
    """Whether the text has the form of a source's id. An alert about a source has that id as its
    `incident_id` and `event_id`.
    """
    return _ID.fullmatch(text) is not None
