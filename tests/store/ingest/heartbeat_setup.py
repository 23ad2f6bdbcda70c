"""Requests to a committer, and what the store then shows of heartbeats and outages."""

import json
import secrets
from datetime import timedelta

from domain.ids import EventId
from domain.projects import CreatedProject
from domain.receipts import NewReceipt
from domain.results import NewResult
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.db.sql import SessionStatements
from store.ingest.group_commit import Committer
from store.ingest.requests import Endpoint, IngestRequest
from store.status.heartbeats import read_ingest_beats
from tests.support.given import new_receipt, new_result

OUTAGE_SECONDS = 2


async def pending(database: Database) -> int:
    async with database.reading() as session:
        rows = await SessionStatements(session).fetch("SELECT count(*) FROM outages")
    return int(rows[0][0])


async def last_beat_age(database: Database) -> timedelta:
    async with database.reading() as session:
        beats = await read_ingest_beats(session)
        assert beats is not None
        return await database.now(session) - beats.last_at


def request(project: CreatedProject, value: NewReceipt | NewResult | None = None) -> IngestRequest:
    """A result for an unknown receipt, unless another value is given."""
    of, value = project.project.id, value or new_result(project.project.id, new_event_id())
    endpoint: Endpoint = "receipt" if isinstance(value, NewReceipt) else "result"
    return IngestRequest(
        of, endpoint, secrets.token_hex(8), "0" * 64, value, lambda _refusal: b"{}"
    )


async def stored(committer: Committer, project: CreatedProject) -> EventId:
    answer = await committer.accept(request(project, new_receipt(project.project.id)))
    return EventId(json.loads(answer.body)["event_id"])
