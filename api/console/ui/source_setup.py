"""The set-up of a source in four steps: where to click at the provider, and what to copy. Pure.

The names are those of Stripe's Dashboard and Shopify's admin. `docs/sources.md` has the same steps
with their reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.sources.source import SourceKind


class Shows(StrEnum):
    """What a step shows beside its text."""

    NOTHING = "nothing"
    ADDRESS = "address"
    """The address of the source's webhook, to copy."""
    EVENT_TYPES = "event_types"
    """The event types that it expects, to choose at the provider."""


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One step. `text` is one or two sentences."""

    title: str
    text: str
    shows: Shows = Shows.NOTHING


_STRIPE_API = (
    SetupStep(
        "Open the API keys at Stripe",
        "In Stripe's Dashboard choose the mode of this project, test or live. Open Developers, "
        "API keys, and press Create restricted key.",
    ),
    SetupStep(
        "Give it one permission",
        "Name the key Makegood. Set Events to Read, and leave everything else at None. The key can "
        "then read events, and can move no money and change nothing.",
    ),
    SetupStep(
        "Save the key here",
        "Press Create key, copy it (it begins with rk_test_ or rk_live_), and save it below. It is "
        "stored encrypted and never shown again.",
    ),
    SetupStep(
        "Check it",
        "Press Check now. Makegood asks Stripe for one event, and this page shows what Stripe "
        "answered. Events from before this source was added make nothing.",
    ),
)
_STRIPE_WEBHOOK = (
    SetupStep(
        "Open the webhooks at Stripe",
        "In Stripe's Dashboard choose the mode of this project, test or live. Open Workbench, "
        "Webhooks, and press Create new destination. Leave your app's endpoint as it is.",
    ),
    SetupStep(
        "Choose the events",
        "Choose your account, or connected accounts for Connect. Any API version works. Select "
        "these event types:",
        Shows.EVENT_TYPES,
    ),
    SetupStep(
        "Give it this address",
        "Choose Webhook endpoint, and paste the address. It must be reachable from the internet.",
        Shows.ADDRESS,
    ),
    SetupStep(
        "Save the signing secret here",
        "Open the new destination, reveal its signing secret (it begins with whsec_), and save it "
        "below. It is stored encrypted and never shown again.",
    ),
)
_SHOPIFY_API = (
    SetupStep(
        "Choose an app of the shop",
        "Use an app that has an access token without an end: a custom app of the shop's admin, or "
        "your own app's offline token. A token that ends after 24 hours does not last here.",
    ),
    SetupStep(
        "Give it one scope",
        "The app needs the scope read_orders, and no other. It can then read the orders of the "
        "last 60 days, and can change nothing.",
    ),
    SetupStep(
        "Save the token here",
        "Install the app, copy its Admin API access token (it begins with shpat_), and save it "
        "below with the shop's myshopify.com domain. It is stored encrypted and never shown again.",
    ),
    SetupStep(
        "Check it",
        "Press Check now. Makegood asks Shopify for one order, and this page shows what Shopify "
        "answered. Orders from before this source was added make nothing.",
    ),
)
_SHOPIFY_WEBHOOK = (
    SetupStep(
        "Open the webhooks of the shop",
        "In Shopify's admin open Settings, Notifications, Webhooks, and press Create webhook. "
        "Leave your app's webhook as it is.",
    ),
    SetupStep(
        "Choose the event",
        "Create one webhook for each of these topics (Order payment is orders/paid). Choose the "
        "format JSON and the newest stable version.",
        Shows.EVENT_TYPES,
    ),
    SetupStep(
        "Give it this address",
        "Paste the address and save the webhook. It must be reachable from the internet.",
        Shows.ADDRESS,
    ),
    SetupStep(
        "Save the signing key here",
        "Copy the key that the page shows below the webhooks. If an app creates the webhook, use "
        "that app's client secret. It is stored encrypted and never shown again.",
    ),
)
_STEPS: Mapping[str, tuple[SetupStep, ...]] = {
    SourceKind.STRIPE_API: _STRIPE_API,
    SourceKind.STRIPE_WEBHOOK: _STRIPE_WEBHOOK,
    SourceKind.SHOPIFY_API: _SHOPIFY_API,
    SourceKind.SHOPIFY_WEBHOOK: _SHOPIFY_WEBHOOK,
}


def setup_steps(kind: str) -> tuple[SetupStep, ...]:
    """The four steps of this kind. Empty for a kind of a later version."""
    return _STEPS.get(kind, ())
