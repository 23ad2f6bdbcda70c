"""The JSON of audit log entries, as REST lists them and as an export has them, a line each."""

import json
from collections.abc import Iterable
from typing import Any, Self

from pydantic import Field

from domain import audit
from domain.audit import AuditAction, SubjectType
from operations.responses.base import At, Response
from store.db.paging import Page


class AuditEntry(Response):
    """An action of a user, a key, the command line or Temporal's UI, identified by its hash."""

    # The number is omitted, because it shows how much other projects do. The pattern is not
    # checked, so that an entry that was tampered with is shown as it is.
    hash: str = Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"})
    at: At
    actor: str = Field(
        description="The id of a user or key, `cli:` and the system's user, or `temporal`."
    )
    address: str | None = Field(description="The address of the client.")
    request_id: str | None
    action: str = Field(examples=[AuditAction.KEY_REVOKED.value])
    subject_type: str | None = Field(
        description="The type of the object that was changed.", examples=[SubjectType.KEY.value]
    )
    subject_id: str | None
    project_id: str | None
    details: dict[str, Any]  # Any: JSON, by the action

    @classmethod
    def of(cls, entry: audit.AuditEntry) -> Self:
        return cls.from_value(entry, details=audit.read_details(entry.details))


class AuditList(Response):
    """A page of the audit log, newest first."""

    data: list[AuditEntry]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[audit.AuditEntry]) -> Self:
        return cls.from_value(
            page,
            data=[AuditEntry.of(entry) for entry in page.rows],
            has_more=page.next_cursor is not None,
        )


def json_lines(entries: Iterable[audit.AuditEntry], *, with_chain: bool) -> bytes:
    """The entries as JSON Lines in ASCII.

    `with_chain` adds each entry's number and the hash of the entry before it. Both would show a
    tenant how much other tenants do.
    """
    rows = (_chained(entry) if with_chain else AuditEntry.of(entry).to_json() for entry in entries)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# Any: JSON values.
def _chained(entry: audit.AuditEntry) -> dict[str, Any]:
    shown = AuditEntry.of(entry).to_json()
    return {"sequence": entry.sequence, **shown, "previous_hash": entry.previous_hash}
