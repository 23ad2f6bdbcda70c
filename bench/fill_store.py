"""Fills a store with receipts and results as ingest does, in transactions of the group commit."""

import json
import secrets
from datetime import UTC, datetime

from bench.processes import Installation
from domain.errors import Refusal
from domain.receipts import EffectType, EventType, NewReceipt, Provider
from domain.results import NewResult, ResultStatus
from store.db.database import Clock
from store.ingest.batch import process_batch
from store.ingest.connection import open_ingest_connection
from store.ingest.requests import IngestRequest, StoredResponse

BATCH = 500


def new_numbers(count: int) -> list[str]:
    """New numbers of Stripe events."""
    return [secrets.token_hex(12) for _ in range(count)]


async def fill(
    installation: Installation, *kinds: str, numbers: list[str], timeout_seconds: float = 1800
) -> list[str]:
    """Commit a `receipt`, a `result` (success), or both, for each number. Returns the event ids."""
    event_ids: list[str] = []
    connection = open_ingest_connection(installation.database_url)
    for start in range(0, len(numbers), BATCH):
        batch = numbers[start : start + BATCH]
        requests = [
            _request(installation, kind, number, timeout_seconds)
            for kind in kinds
            for number in batch
        ]
        async with connection.transaction() as statements:
            verdicts = await process_batch(statements, Clock(), requests)
        for verdict in verdicts[: len(batch)]:
            assert isinstance(verdict, StoredResponse), verdict
            event_ids.append(json.loads(verdict.body)["event_id"])
    await connection.close()
    return event_ids


def _request(
    installation: Installation, kind: str, number: str, timeout_seconds: float
) -> IngestRequest:
    if kind == "receipt":
        return IngestRequest(
            installation.project_id,
            "receipt",
            number,
            number,
            _receipt(installation, number, timeout_seconds),
            _render,
        )
    return IngestRequest(
        installation.project_id, "result", number, number, _success(installation, number), _render
    )


def _receipt(installation: Installation, number: str, timeout_seconds: float) -> NewReceipt:
    return NewReceipt(
        project_id=installation.project_id,
        livemode=False,
        provider=Provider.STRIPE,
        provider_event_id=f"evt_{number}",
        stripe_event_id=f"evt_{number}",
        event_type=EventType.INVOICE_PAID,
        effect_type=EffectType.ACCESS_UNLOCK,
        internal_reference=f"order-{number}",
        shopify_shop_domain=None,
        occurred_at=datetime.now(UTC),
        timeout_minutes=timeout_seconds / 60,
        request_id=f"req_{number}",
    )


def _success(installation: Installation, number: str) -> NewResult:
    return NewResult(
        project_id=installation.project_id,
        event_id=None,
        provider_event_id=f"evt_{number}",
        stripe_event_id=None,
        provider=None,
        effect_type=None,
        status=ResultStatus.SUCCESS,
        error_code=None,
        error_message=None,
        replay_id=None,
        request_id=f"req_{number}",
    )


def _render(refusal: Refusal) -> bytes:
    return refusal.code.encode()
