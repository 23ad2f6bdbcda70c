"""Claims and releases idempotency keys, and stores the response of each.

A stored response is kept for 24 hours. Runs inside the committer's transaction and never commits.
"""

from datetime import datetime, timedelta

from domain.errors import Refusal
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.ingest.requests import IngestRequest, StoredResponse

RESPONSE_RETENTION = timedelta(hours=24)


async def claim_key(st: Statements, request: IngestRequest, now: datetime) -> bool:
    """Claim the key. True if it is new, or if its stored response is past the retention."""
    claimed = await st.fetch(
        "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) "
        "VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (project_id, endpoint, key) DO UPDATE "
        "SET fingerprint = excluded.fingerprint, status = 0, subject = NULL, "
        "body = NULL, created_at = excluded.created_at "
        "WHERE idempotency.created_at <= $6 RETURNING 1",
        request.project_id,
        request.endpoint,
        request.key,
        request.fingerprint,
        to_unix_ms(now),
        to_unix_ms(now - RESPONSE_RETENTION),
    )
    return bool(claimed)


async def store_refusal(
    st: Statements, request: IngestRequest, refusal: Refusal, status: int
) -> StoredResponse:
    body = request.render(refusal)
    await store_response(st, request, status, body=body)
    return StoredResponse(status, body)


async def store_response(
    st: Statements,
    request: IngestRequest,
    status: int,
    *,
    body: bytes | None = None,
    subject: str | None = None,
) -> None:
    await st.fetch(
        "UPDATE idempotency SET status = $1, body = $2, subject = $3 WHERE project_id = $4 AND"
        " endpoint = $5 AND key = $6",
        status,
        body,
        subject,
        request.project_id,
        request.endpoint,
        request.key,
    )


async def release_key(st: Statements, request: IngestRequest) -> None:
    await st.fetch(
        "DELETE FROM idempotency WHERE project_id = $1 AND endpoint = $2 AND key = $3",
        request.project_id,
        request.endpoint,
        request.key,
    )
