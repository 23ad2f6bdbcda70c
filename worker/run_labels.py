"""What Temporal shows of a run before it has done anything: its search attributes and its details. Ids and instants alone.

It serves search and comfort: a run is started without it where Temporal does not take it. Called by `worker.gateway`.
"""

from typing import Any

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from domain.instants import wire
from domain.receipts import Receipt
from worker.search_attributes import Registered
from workflows.messages import (
    MG_DEADLINE,
    MG_EFFECT,
    MG_EVENT_TYPE,
    MG_MODE,
    MG_PROJECT,
    MG_PROVIDER,
    MG_PROVIDER_EVENT_ID,
    MG_STATE,
)

# The longest that Temporal's visibility keeps; one more and it refuses the start.
KEYWORD_CHARACTERS = 255


def search_attributes_of(receipt: Receipt, registered: Registered) -> TypedSearchAttributes:
    """The attributes of a new run, as far as the namespace has them."""
    pairs: list[SearchAttributePair[Any]] = [  # Any: the attributes are of different types
        SearchAttributePair(MG_PROJECT, receipt.project_id),
        SearchAttributePair(MG_MODE, "live" if receipt.livemode else "test"),
        SearchAttributePair(MG_STATE, receipt.state.value),
        SearchAttributePair(MG_PROVIDER, receipt.provider.value),
        SearchAttributePair(MG_EVENT_TYPE, receipt.event_type.value),
        SearchAttributePair(MG_EFFECT, receipt.effect_type.value),
        SearchAttributePair(MG_PROVIDER_EVENT_ID, receipt.provider_event_id[:KEYWORD_CHARACTERS]),
        SearchAttributePair(MG_DEADLINE, receipt.deadline_at),
    ]
    return TypedSearchAttributes([pair for pair in pairs if pair.key.name in registered.names])


def details_of(receipt: Receipt, public_url: str) -> str:
    """A link to the receipt's page, and its instants, as Markdown of ids and instants alone."""
    return "\n".join(
        (
            f"[{receipt.event_id}]({public_url}/events/{receipt.event_id})",
            "",
            f"- project: `{receipt.project_id}`",
            f"- accepted: `{wire(receipt.accepted_at)}`",
            f"- result due: `{wire(receipt.timeout_at)}`",
        )
    )
