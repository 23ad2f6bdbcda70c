"""The test call of a repair URL: signed as a repair is, and marked as a test.

It sends what `activities.callback` sends, about an event that does not exist. Nothing is stored of
it but an audit entry, and the answer changes no repair and no project.
"""

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import RepairUrlMissing
from domain.ids import ProjectId, ReplayId
from domain.incidents import Reason
from domain.projects import Project
from domain.receipts import EffectType, EventType, Provider, effect_key
from domain.retries import ErrorClass, ExchangeOutcome
from domain.security.signing import TEST_HEADER, SigningSecrets, callback_headers
from domain.values.timestamps import to_iso
from domain.wording.states import call_error
from operations.alerts.trial_limit import TrialLimit
from operations.audit_writer import AuditWriter
from operations.validation import known_id
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.tokens import new_event_id, new_incident_id, new_replay_id
from store.db.database import Database
from store.projects.projects import read_project
from store.projects.signing_secrets import signing_secrets

# The same in each test call. So an app that does not look at `test` applies it once at most.
TEST_EVENT = "evt_makegood_test"
TEST_REFERENCE = "makegood-test"
NO_URL = "This project has no repair URL. Save one, then test it."
NO_CALLER = "This process makes no test calls."
UNREADABLE = "Its signing secret cannot be decrypted with the root secrets that Makegood has."


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """One POST to a repair URL."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    livemode: bool


class CallRepairUrl(Protocol):
    """Sends the request through the egress guard. A failure is an outcome too."""

    async def __call__(self, request: TrialRequest, /) -> ExchangeOutcome: ...


@dataclass(frozen=True, slots=True)
class TriedRepairUrl:
    """What was sent and what the endpoint answered. `detail` is a sentence for people."""

    replay_id: ReplayId
    sent_at: datetime
    body: str
    ok: bool
    status: int | None
    error_class: ErrorClass | None
    duration_ms: int
    detail: str
    answer_excerpt: str | None


class RepairTrialOperations:
    """Test calls to the repair URLs of an opened store's projects."""

    def __init__(
        self,
        database: Database,
        audit: AuditWriter,
        *,
        sealer: Sealer,
        call: CallRepairUrl | None,
    ) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer
        self._call = call
        self._limit = TrialLimit("test calls")

    async def test_repair_url(self, project_id: str, *, actor: Actor) -> TriedRepairUrl:
        """Call the repair URL now, also one that answered 410.

        Raises: NotFound; RateLimited at the limit of test calls; RepairUrlMissing.
        """
        known = ProjectId(known_id(project_id))
        replay_id = new_replay_id()
        async with self._database.reading(known) as session:
            project = await read_project(session, known)
            if project.repair_url is None:
                raise RepairUrlMissing(NO_URL)
            at = await self._database.now(session)
            keys = await self._secrets(session, known, at)
        body = trial_body(project, replay_id=replay_id, at=at)
        # It is sent while no transaction is open.
        with self._limit.trial(known):
            outcome = await self._send(project, keys, replay_id, body, at)
        is_good = outcome.status is not None and 200 <= outcome.status <= 299
        async with self._database.transaction(known) as session:
            subject = Subject(SubjectType.PROJECT, known)
            details = {"ok": is_good, "status": outcome.status}
            action = AuditAction.REPAIR_URL_TESTED
            await self._audit.record(
                session, actor, action, subject, project_id=known, details=details
            )
        return TriedRepairUrl(
            replay_id=replay_id,
            sent_at=at,
            body=body.decode(),
            ok=is_good,
            status=outcome.status,
            error_class=outcome.error_class,
            duration_ms=outcome.duration_ms,
            detail=self._detail(keys, outcome),
            answer_excerpt=outcome.answer_excerpt,
        )

    async def _secrets(
        self, session: AsyncSession, project_id: ProjectId, now: datetime
    ) -> SigningSecrets | None:
        """The project's signing secrets; None if they cannot be decrypted."""
        try:
            return await signing_secrets(session, self._sealer, project_id, now)
        except SealBroken:
            return None

    def _detail(self, keys: SigningSecrets | None, outcome: ExchangeOutcome) -> str:
        if keys is None:
            return UNREADABLE
        return NO_CALLER if self._call is None else trial_detail(outcome)

    async def _send(
        self,
        project: Project,
        keys: SigningSecrets | None,
        replay_id: ReplayId,
        body: bytes,
        at: datetime,
    ) -> ExchangeOutcome:
        if keys is None or self._call is None or project.repair_url is None:
            return ExchangeOutcome(None, ErrorClass.UNKNOWN, 0)
        signed = callback_headers(
            secrets=keys,
            replay_id=replay_id,
            attempt_number=1,
            timestamp=int(at.timestamp()),
            nonce=secrets.token_hex(16),
            body=body,
        )
        headers = (("Content-Type", "application/json"), (TEST_HEADER, "true"), *signed)
        return await self._call(TrialRequest(project.repair_url, headers, body, project.livemode))


def trial_body(project: Project, *, replay_id: ReplayId, at: datetime) -> bytes:
    """The JSON of a repair callback (contract), with `test` true. Its ids belong to nothing."""
    fields: dict[str, str | int | bool | None] = {
        "type": "repair.requested",
        "test": True,
        "replay_id": replay_id,
        "incident_id": new_incident_id(),
        "event_id": new_event_id(),
        "provider": str(Provider.STRIPE),
        "provider_event_id": TEST_EVENT,
        "stripe_event_id": TEST_EVENT,
        "event_type": str(EventType.CHECKOUT_SESSION_COMPLETED),
        "effect_type": str(EffectType.ACCESS_UNLOCK),
        "internal_reference": TEST_REFERENCE,
        "occurred_at": to_iso(at),
        "reason": str(Reason.MISSING_RESULT),
        "error_code": None,
        "requested_at": to_iso(at),
        "livemode": project.livemode,
        "effect_key": effect_key(Provider.STRIPE, TEST_EVENT, EffectType.ACCESS_UNLOCK),
        "amount": None,
        "currency": None,
        "customer_reference": None,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def trial_detail(outcome: ExchangeOutcome) -> str:
    """What the outcome means for a repair, in one sentence."""
    match outcome.status:
        case None:
            failure = call_error(outcome.error_class or ErrorClass.UNKNOWN)
            return f"The endpoint gave no answer that counts: {failure.lower()}."
        case status if 200 <= status <= 299:
            return "The endpoint accepted the call."
        case 401 | 403:
            return (
                "The endpoint did not accept the signature. Check that it verifies the raw body"
                " with this project's signing secret."
            )
        case 404 | 405:
            return "There is no endpoint for POST at this URL. Check its path."
        case status if 300 <= status <= 399:
            return "The endpoint redirects, and no redirect is followed. Save the final URL."
        case 410:
            return "The endpoint says that it is gone. A repair would end here."
        case 408 | 429:
            return "The endpoint asks to call again later. A repair would be retried."
        case status if 400 <= status <= 499:
            return "The endpoint refused the call. A repair would end here."
        case _:
            return "The endpoint failed. A repair would be retried."
