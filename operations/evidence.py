"""The operations on evidence: make the file of an event, list the public keys, replace the key.

`domain.security.evidence` describes the file. Making one is a read, except that the first one
creates the instance's key. Nothing else about the event changes, so an ended event has the same
entries in every file, for as long as its sightings are kept.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from importlib.metadata import version

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import EvidenceKeyLost
from domain.receipts import Receipt
from domain.security.evidence import ALGORITHM, EvidenceBuilder, EvidenceKind, canonical
from domain.values.timestamps import to_iso
from operations.audit_writer import AuditWriter
from operations.events import load_event
from operations.lists import ALL_PROJECTS
from operations.responses import evidence as responses
from operations.responses.audit import AuditEntry
from operations.responses.events import SeenBySource, TimelineEntry
from operations.responses.incidents import Incident, Repair
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.evidence import keys, records
from store.evidence.keys import EvidenceKey
from store.receipts.queries import EventRow
from store.sources.seen import seen_by
from store.status.installation import installation_id, read_installation_id

ENTRIES_AT_ONCE = 100
Content = tuple[EvidenceKind, Mapping[str, object]]


def attachment(event_id: str) -> dict[str, str]:
    """The HTTP header that gives the file its name."""
    return {"Content-Disposition": f'attachment; filename="{file_name(event_id)}"'}


def file_name(event_id: str) -> str:
    return f"makegood-evidence-{event_id}.json"


class EvidenceOperations:
    """Evidence of an opened store's events."""

    def __init__(self, database: Database, audit: AuditWriter, *, sealer: Sealer) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer

    async def make_evidence(
        self, project_id: str | None, event_id: str, *, actor: Actor
    ) -> tuple[str, bytes]:
        """The event's id, and its file, of one snapshot of the store.

        Raises: NotFound; RateLimited; EvidenceKeyLost when no known root secret opens the
            instance's key.
        """
        # Before the key: an unknown id changes nothing.
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            project = (await load_event(session, project_id, event_id)).receipt.project_id
            is_new = await keys.read_current_key(session) is None
        if is_new:
            await self._create_key(actor)
        # As a search: a long life takes seconds, and must not hold the connections of pages.
        async with self._database.searching(project) as session:
            event = await load_event(session, project_id, event_id)
            return event.receipt.event_id, await self._file(session, event)

    async def list_keys(self) -> list[EvidenceKey]:
        """The public keys of this instance, the current one first, then newest first."""
        async with self._database.reading() as session:
            return await keys.read_evidence_keys(session)

    async def ensure_key(self, *, actor: Actor) -> list[EvidenceKey]:
        """The public keys of this instance; the first one is created if there is none."""
        if not (known := await self.list_keys()):
            await self._create_key(actor)
            known = await self.list_keys()
        return known

    async def replace_key(self, *, actor: Actor) -> list[EvidenceKey]:
        """Erase the private key and create another. Returns all public keys, the new one first."""
        await self._create_key(actor, replaces=True)
        return await self.list_keys()

    async def _create_key(self, actor: Actor, *, replaces: bool = False) -> None:
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            retired = await keys.retire_current_key(session, now=now) if replaces else None
            await installation_id(session)
            created = await keys.create_evidence_key(session, self._sealer, now=now)
            if created is not None:  # else another process created it
                details = {"key_id": created.id, "replaces": retired}
                await self._audit.record(
                    session,
                    actor,
                    AuditAction.EVIDENCE_KEY_CREATED,
                    Subject(SubjectType.STORE),
                    details=details,
                    now=now,
                )

    async def _file(self, session: AsyncSession, event: EventRow) -> bytes:
        key = await keys.read_current_key(session)
        assert key is not None  # created before
        builder = EvidenceBuilder()
        async for kind, content in _contents(session, event):
            builder.add(kind, content)
            if builder.entries % ENTRIES_AT_ONCE == 0:
                await asyncio.sleep(0)  # a long life blocks no other request
        facts = await _facts(session, event.receipt, key, await self._database.now(session))
        statement = builder.statement(**facts)
        try:
            signature = await keys.sign_with(session, self._sealer, key, canonical(statement))
        except SealBroken:
            raise EvidenceKeyLost from None
        return builder.file(statement, signature)


async def _facts(
    session: AsyncSession, receipt: Receipt, key: EvidenceKey, now: datetime
) -> dict[str, object]:
    """What the file says about itself, beside its head."""
    return {
        "event_id": receipt.event_id,
        "project_id": receipt.project_id,
        "installation_id": await read_installation_id(session),
        "made_at": to_iso(now),
        "made_by": f"makegood {version('makegood')}",
        "key": {"id": key.id, "algorithm": ALGORITHM, "public_key": key.public_key},
    }


async def _contents(session: AsyncSession, event: EventRow) -> AsyncIterator[Content]:
    """Everything about the event, in the order of `EvidenceKind` and then of ids."""
    receipt, incident = event.receipt, event.incident
    yield EvidenceKind.EVENT, responses.EvidenceEvent.of(event).to_json()
    for seen in await seen_by(session, receipt.event_id):
        yield EvidenceKind.SIGHTING, SeenBySource.of(seen).to_json()
    if incident is not None:
        yield EvidenceKind.INCIDENT, Incident.of(incident).to_json()
    async for result in records.read_results(session, receipt.event_id):
        yield EvidenceKind.RESULT, responses.EvidenceResult.of(result).to_json()
    async for repair in records.read_repairs(session, receipt.event_id):
        yield EvidenceKind.REPAIR, Repair.of(repair).to_json()
    async for alert in records.read_alerts(session, receipt.event_id):
        yield EvidenceKind.ALERT, responses.EvidenceAlert.of(alert).to_json()
    incident_id = None if incident is None else incident.id
    async for entry in records.read_audit_entries(session, receipt.event_id, incident_id):
        yield EvidenceKind.AUDIT, AuditEntry.of(entry).to_json()
    for moment in await records.read_whole_timeline(session, receipt):
        yield EvidenceKind.TIMELINE, TimelineEntry.of(moment).to_json()
