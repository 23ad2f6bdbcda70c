"""Sends receipts and results to a running committer, as the API does."""

import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from domain.errors import (
    Refusal,
)
from domain.projects import CreatedProject
from domain.receipts import NewReceipt
from domain.results import NewResult
from store.db.database import Database
from store.ingest.connection import IngestConnection, open_ingest_connection
from store.ingest.group_commit import Committer
from store.ingest.requests import IngestRequest, PreRejected, StoredResponse
from tests.support.given import new_receipt

_keys = itertools.count(1)


class Desk:
    """Sends requests to a committer as the API does. Keys are new unless they are given."""

    def __init__(self, project: CreatedProject, committer: Committer) -> None:
        self.project_id = project.project.id
        self.committer = committer

    def request(
        self, value: NewReceipt | NewResult | PreRejected, key: str | None = None, body: str = ""
    ) -> IngestRequest:
        endpoint = "result" if isinstance(value, NewResult) else "receipt"
        fingerprint = hashlib.sha256((body or repr(value)).encode()).hexdigest()
        return IngestRequest(
            self.project_id, endpoint, key or f"key {next(_keys)}", fingerprint, value, rendered
        )

    async def say(
        self, value: NewReceipt | NewResult | PreRejected, key: str | None = None, body: str = ""
    ) -> StoredResponse:
        return await self.committer.accept(self.request(value, key, body))

    def receipt(self, **changes: Any) -> NewReceipt:
        return new_receipt(self.project_id, **changes)

    async def stored(self, **changes: Any) -> str:
        return body_of(await self.say(self.receipt(**changes)))["event_id"]


def rendered(refusal: Refusal) -> bytes:
    return json.dumps({"code": refusal.code.value}).encode()


def body_of(answer: StoredResponse) -> dict[str, Any]:
    return dict(json.loads(answer.body))


async def count(database: Database, table: str, where: str = "1 = 1") -> int:
    async with database.reading() as session:
        return int(
            (
                await session.execute(text(f"SELECT count(*) FROM {table} WHERE {where}"))
            ).scalar_one()
        )


@asynccontextmanager
async def committing(
    database: Database,
    project: CreatedProject,
    wrap: Callable[[IngestConnection], IngestConnection] = lambda real: real,
) -> AsyncIterator[Desk]:
    committer = Committer(wrap(open_ingest_connection(database.url)), database.clock)
    await committer.start()
    yield Desk(project, committer)
    await committer.stop()
