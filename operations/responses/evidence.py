"""The JSON of evidence: the contents that only a file of evidence has, and the file itself."""

from typing import Any, Literal, Self

from pydantic import Field

from domain import results
from domain.results import ResultStatus
from domain.security.evidence import EvidenceKind
from operations.responses.base import At, EventIdText, OrNewer, ReplayIdText, Response
from operations.responses.events import Event
from store.evidence.keys import EvidenceKey
from store.evidence.records import AlertRecord
from store.receipts.queries import EventRow


class EvidenceEvent(Event):
    """An event as in a list, with its project, its source if one saw it, its shop and request."""

    project_id: str
    source_id: str | None
    shopify_shop_domain: str | None
    request_id: str

    @classmethod
    def of(cls, event: EventRow) -> Self:
        return cls.from_event(event)


class EvidenceResult(Response):
    """A result. `repeats` counts equal ones that came later and changed nothing."""

    id: str
    status: ResultStatus
    replay_id: ReplayIdText | None
    already_applied: bool
    error_code: str | None
    error_message: str | None
    received_at: At
    repeats: int
    repeated_at: At | None

    @classmethod
    def of(cls, result: results.Result) -> Self:
        facts = result.facts
        return cls.from_value(
            result,
            status=facts.status,
            replay_id=facts.replay_id,
            already_applied=facts.already_applied,
            error_code=facts.error_code,
            error_message=facts.error_message,
        )


class EvidenceAlert(Response):
    """An alert and what became of it. `destination` is never a secret."""

    kind: str
    channel: str
    destination: str
    about: str | None
    created_at: At
    tries: int
    last_error: str | None
    sent_at: At | None
    ended_at: At | None
    end_reason: str | None

    @classmethod
    def of(cls, alert: AlertRecord) -> Self:
        return cls.from_value(alert)


class EvidenceEntry(Response):
    """An entry of the chain. `hash` is the SHA-256 of its canonical JSON without `hash`."""

    number: int
    kind: OrNewer[EvidenceKind]
    content: dict[str, Any]  # Any: JSON, by the kind
    previous_hash: str
    hash: str


class SigningKey(Response):
    """The key that signed the file."""

    id: str
    algorithm: Literal["Ed25519"]
    public_key: str = Field(description="32 bytes as hex.")


class Evidence(Response):
    """The whole life of an event, in canonical JSON with one line feed at its end.

    The signature covers the canonical JSON of everything but `entries` and `signature`.
    """

    entries: list[EvidenceEntry]
    event_id: EventIdText
    format: Literal["makegood-evidence/1"]
    head: str = Field(description="The hash of the last entry.")
    installation_id: str
    key: SigningKey
    made_at: At
    made_by: str
    project_id: str
    signature: str = Field(description="64 bytes as hex.")


class PublicKey(Response):
    """A public key of evidence. `retired_at` is null while it signs."""

    id: str
    algorithm: Literal["Ed25519"]
    public_key: str = Field(description="32 bytes as hex.")
    created_at: At
    retired_at: At | None

    @classmethod
    def of(cls, key: EvidenceKey) -> Self:
        return cls.from_value(key, algorithm="Ed25519")


class PublicKeyList(Response):
    """Every key that ever signed evidence here, the current one first."""

    data: list[PublicKey]

    @classmethod
    def of(cls, keys: list[EvidenceKey]) -> Self:
        return cls.from_value(None, data=[PublicKey.of(key) for key in keys])
