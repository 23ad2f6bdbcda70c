"""Fills a store with N receipts of one project that wait for a week: `python -m
tests.faults.installation.crowd URL PROJECT N`.

Written with the statements of ingest, before any process of the installation is at work.
Their rows in the outbox are leased for a week, like those of receipts whose workflows are not
started yet, and cost Temporal nothing.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from domain.errors import Refusal
from domain.ids import ProjectId
from domain.receipts import EffectType, EventType, NewReceipt, Provider
from domain.values.timestamps import to_unix_ms
from store.db.database import Clock, Database
from store.ingest.batch import process_batch
from store.ingest.connection import open_ingest_connection
from store.ingest.requests import IngestRequest

BATCH = 500
WEEK_MINUTES = 10_080


async def fill(url: str, project_id: str, count: int) -> None:
    """Store so many receipts that wait."""
    ingest_connection = open_ingest_connection(url)
    for start in range(0, count, BATCH):
        requests = [
            _request(ProjectId(project_id), number)
            for number in range(start, min(start + BATCH, count))
        ]
        async with ingest_connection.transaction() as statements:
            await process_batch(statements, Clock(), requests)
    await ingest_connection.close()
    database = Database.open(url)
    async with database.transaction() as session:
        leased_until = to_unix_ms(datetime.now(UTC) + timedelta(days=7))
        await session.execute(
            text("UPDATE outbox SET claimed_until = :until"), {"until": leased_until}
        )
        if database.dialect == "sqlite":
            await session.execute(text("ANALYZE"))
    await database.close()


def _request(project_id: ProjectId, number: int) -> IngestRequest:
    receipt = NewReceipt(
        project_id=project_id,
        livemode=False,
        provider=Provider.STRIPE,
        provider_event_id=f"evt_crowd_{number}",
        stripe_event_id=f"evt_crowd_{number}",
        event_type=EventType.INVOICE_PAID,
        effect_type=EffectType.ACCESS_UNLOCK,
        internal_reference=f"crowd-{number}",
        shopify_shop_domain=None,
        occurred_at=datetime.now(UTC),
        timeout_minutes=WEEK_MINUTES,
        request_id=f"req_{number}",
    )
    return IngestRequest(
        project_id, "receipt", f"crowd-{number}", f"{number:064x}", receipt, _render
    )


def _render(refusal: Refusal) -> bytes:
    return refusal.code.encode()


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], sys.argv[2], int(sys.argv[3])))
