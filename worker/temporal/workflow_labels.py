"""Labels a run at its start: search attributes, memo, summary and details.

They hold ids and instants only.

People search and read them; the workflow does not need them. Each value is cut to Temporal's limit
in encoded bytes. Attributes that the namespace lacks are omitted. If Temporal refuses the start
anyway, it is retried with fewer labels. Called by `worker.temporal.workflow_client`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from domain.receipts import Receipt
from domain.values.text import cut_encoded, sanitize
from domain.values.timestamps import to_iso
from worker.temporal.search_attributes import NOTHING, Registered
from workflows.search_attributes import (
    MG_DEADLINE,
    MG_EFFECT,
    MG_EVENT_TYPE,
    MG_MODE,
    MG_PROJECT,
    MG_PROVIDER,
    MG_PROVIDER_EVENT_ID,
    MG_STATE,
)

# Temporal accepts 2,048 bytes of a search attribute. Its visibility keeps 255 characters on
# PostgreSQL and MySQL.
KEYWORD_BYTES, KEYWORD_CHARACTERS = 2_000, 255
# Temporal accepts 400 bytes of a summary and 20,000 of details, including the encoding metadata.
SUMMARY_BYTES, DETAILS_BYTES = 300, 18_000

# A retry of the same call would be refused too.
_REFUSALS = frozenset(
    {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.OUT_OF_RANGE}
)

Labels = Mapping[str, Any]  # Any: keywords of `Client.start_workflow`

log = structlog.get_logger(__name__)


async def start_labelled(
    start: Callable[[Labels, Registered], Awaitable[None]],
    receipt: Receipt,
    registered: Registered,
    *,
    public_url: str,
) -> None:
    """Start a run with all labels, or with as many as Temporal accepts.

    `start` receives the labels and the attributes to write.

    Raises:
        RPCError: Temporal does not answer, or refuses a start without labels.
    """
    for_people = _labels_for_people(receipt, public_url)
    all_labels = {**for_people, "search_attributes": search_attributes_of(receipt, registered)}
    steps: tuple[tuple[Labels, Registered], ...] = (
        (all_labels, registered),
        (for_people, NOTHING),
        ({}, NOTHING),
    )
    for left_out, (labels, known) in enumerate(steps):
        try:
            await start(labels, known)
            return
        except RPCError as error:
            if error.status not in _REFUSALS or left_out == len(steps) - 1:
                raise
            log.warning(
                "start_refused",
                event_id=receipt.event_id,
                reason=sanitize(error.message),
                left_out=left_out,
            )


def search_attributes_of(receipt: Receipt, registered: Registered) -> TypedSearchAttributes:
    """The attributes of a new run, without those that the namespace lacks."""
    keywords = (
        (MG_PROJECT, receipt.project_id),
        (MG_MODE, "live" if receipt.livemode else "test"),
        (MG_STATE, str(receipt.state)),
        (MG_PROVIDER, str(receipt.provider)),
        (MG_EVENT_TYPE, str(receipt.event_type)),
        (MG_EFFECT, str(receipt.effect_type)),
        (MG_PROVIDER_EVENT_ID, receipt.provider_event_id),
    )
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(key, keyword(text)) for key, text in keywords
    ]  # Any: two types
    pairs.append(SearchAttributePair(MG_DEADLINE, receipt.deadline_at))
    return TypedSearchAttributes([pair for pair in pairs if pair.key.name in registered.names])


def keyword(text: str) -> str:
    """The text, cut to the limit of a search attribute of type Keyword."""
    return cut_encoded(text, most_bytes=KEYWORD_BYTES, most_characters=KEYWORD_CHARACTERS)


def _labels_for_people(receipt: Receipt, public_url: str) -> Labels:
    summary = f"{receipt.provider} {receipt.event_type}: {receipt.effect_type}"
    return {
        "memo": {"request_id": keyword(receipt.request_id)},
        "static_summary": cut_encoded(
            summary, most_bytes=SUMMARY_BYTES, most_characters=SUMMARY_BYTES
        ),
        "static_details": _details(receipt, public_url),
    }


def _instants(receipt: Receipt) -> tuple[str, str]:
    due = to_iso(receipt.timeout_at)
    if receipt.accepted_at is None:
        return (f"- expected: `{to_iso(receipt.listed_at)}`", f"- receipt due: `{due}`")
    return (f"- accepted: `{to_iso(receipt.accepted_at)}`", f"- result due: `{due}`")


def _details(receipt: Receipt, public_url: str) -> str:
    page = f"{public_url}/events/{receipt.event_id}"
    lines = (
        f"[{receipt.event_id}]({page})" if len(page) < DETAILS_BYTES // 2 else receipt.event_id,
        "",
        f"- project: `{receipt.project_id}`",
        *_instants(receipt),
    )
    return "\n".join(
        cut_encoded(line, most_bytes=DETAILS_BYTES // 2, most_characters=DETAILS_BYTES)
        for line in lines
    )
