"""Labels of sources: kinds, and problems with what to do about each. Pure.

A value that a later version stored has no label here. It is shown as words.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from api.console.ui import labels
from domain.sources.source import ShopifyIdentity, Source, SourceKind, SourceProblem

_WEBHOOKS = frozenset(kind for kind in SourceKind if kind.is_webhook)
KIND_LABELS: Mapping[str, str] = {
    SourceKind.STRIPE_API: "Stripe events, listed",
    SourceKind.STRIPE_WEBHOOK: "Stripe webhook",
    SourceKind.SHOPIFY_API: "Shopify orders, listed",
    SourceKind.SHOPIFY_WEBHOOK: "Shopify webhook",
}
# What each kind is for, where a kind is chosen.
KIND_DETAILS: Mapping[str, str] = {
    SourceKind.STRIPE_API: "Lists your account's events every few minutes with a restricted key. "
    "Finds events even if Stripe could deliver them nowhere.",
    SourceKind.STRIPE_WEBHOOK: "A second endpoint at Stripe, beside your app's. "
    "Sees an event within seconds.",
    SourceKind.SHOPIFY_API: "Lists the shop's orders every few minutes with an access token. "
    "Finds orders even if Shopify removed your webhook.",
    SourceKind.SHOPIFY_WEBHOOK: "A second webhook of the shop, beside your app's. "
    "Sees an order within seconds.",
}
# What is wrong, and what to do next.
PROBLEMS: Mapping[str, tuple[str, str]] = {
    SourceProblem.KEY_REFUSED: (
        "The provider refuses the key.",
        "Check that the key was not revoked and that it may read events or orders. "
        "Then save a new one below.",
    ),
    SourceProblem.THROTTLED: (
        "The provider limits our requests.",
        "The next listing goes on from here. If it stays, list less often.",
    ),
    SourceProblem.UNREACHABLE: (
        "The provider does not answer.",
        "The next listing tries again and goes on from here. Nothing is lost for 30 days.",
    ),
    SourceProblem.BAD_ANSWER: (
        "The provider's answers are not as they should be.",
        "The detail below says what is wrong. The next listing tries again.",
    ),
    SourceProblem.ENDLESS_PAGES: (
        "The provider's pages repeat.",
        "What it listed is stored. The next listing tries again.",
    ),
    SourceProblem.BAD_SIGNATURE: (
        "Deliveries arrive, and their signature does not fit the stored secret.",
        "Copy the signing secret of this endpoint from the provider again, and save it below.",
    ),
    SourceProblem.SECRET_UNREADABLE: (
        "The stored secret cannot be decrypted.",
        "Restore the root secret of this installation, or save the secret again below.",
    ),
    SourceProblem.NOT_LISTED: (
        "The source is not listed any more.",
        "Makegood has made its Schedule in Temporal again. If this stays, check that a worker runs "
        "and reaches Temporal.",
    ),
}
# Where a webhook means something else by a problem than a listing.
_WEBHOOK_PROBLEMS: Mapping[str, tuple[str, str]] = {
    SourceProblem.BAD_ANSWER: (
        "A delivery of an expected type could not be read.",
        "Check that the provider sends these events here, in JSON. "
        "A good delivery ends this, an hour after the last that could not be read.",
    ),
}
SECRETS: Mapping[str, str] = {
    SourceKind.STRIPE_API: "Restricted key",
    SourceKind.STRIPE_WEBHOOK: "Signing secret",
    SourceKind.SHOPIFY_API: "Admin API access token",
    SourceKind.SHOPIFY_WEBHOOK: "Signing key",
}
SECRET_EXAMPLES: Mapping[str, str] = {
    SourceKind.STRIPE_API: "rk_…",
    SourceKind.STRIPE_WEBHOOK: "whsec_…",
    SourceKind.SHOPIFY_API: "shpat_…",
}
IDENTITIES: Mapping[str, str] = {
    ShopifyIdentity.OBJECT_ID: "The order's id",
    ShopifyIdentity.EVENT_ID: "The header X-Shopify-Event-Id",
    ShopifyIdentity.WEBHOOK_ID: "The header X-Shopify-Webhook-Id",
}


def kind_label(kind: str) -> str:
    return KIND_LABELS.get(kind, labels.humanize(kind))


def problem_text(problem: str, kind: str) -> tuple[str, str]:
    """What is wrong with a source of this kind, and what to do next."""
    if kind in _WEBHOOKS and problem in _WEBHOOK_PROBLEMS:
        return _WEBHOOK_PROBLEMS[problem]
    return PROBLEMS.get(problem, (f"{labels.humanize(problem)}.", "See the detail below."))


def listing_lag(source: Source, now: datetime) -> str:
    """How far its listing is behind the present. Empty for a webhook, or before the first."""
    if source.listed_until is None:
        return ""
    return labels.coarse_duration(max(now - source.listed_until, timedelta()).total_seconds())
