"""The requests that the group commit takes, and the verdict that each one gets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from domain.errors import Refusal
from domain.ids import EventId, ProjectId
from domain.receipts import NewReceipt
from domain.results import NewResult

Endpoint: TypeAlias = Literal["receipt", "result"]


@dataclass(frozen=True, slots=True)
class PreRejected:
    """A refusal found in the body. It is returned only if the key has no stored response.

    `is_stored`: it becomes the stored response of the key.
    """

    refusal: Refusal
    status: int
    is_stored: bool


@dataclass(frozen=True, slots=True)
class SealedPayload:
    """The encrypted payload of a receipt. It can be decrypted only in the row of `event_id`."""

    event_id: EventId
    content: bytes


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """One POST whose headers and body shape are valid.

    `fingerprint` is the hex SHA-256 of the raw body. `render` makes the stored body of a refusal.
    `sealed` is the payload of a receipt.
    """

    project_id: ProjectId
    endpoint: Endpoint
    key: str
    fingerprint: str
    value: NewReceipt | NewResult | PreRejected
    render: Callable[[Refusal], bytes]
    sealed: SealedPayload | None = None


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The status and body to send, also of a stored refusal. `is_replayed`: it was sent before."""

    status: int
    body: bytes
    is_replayed: bool = False


Verdict: TypeAlias = StoredResponse | Exception
