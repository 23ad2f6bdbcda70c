"""The audit log: who did what to which subject, and from where; with a chain of hashes that reveals
any tampering.

An entry's hash covers all its columns, including the previous entry's hash, as a JSON array in the
order of `HASHED`. Anyone who can write to the database can compute such hashes. Therefore
`store.audit.log` adds a seal over the last one, which needs a key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import ProjectId

# The previous hash of the first entry.
GENESIS = "0" * 64
HASHED = (
    *("sequence", "at", "actor", "address", "request_id", "action", "subject_type", "subject_id"),
    *("project_id", "details", "previous_hash"),
)
CLI, TEMPORAL, VISITOR, MAKEGOOD = "cli", "temporal", "visitor", "makegood"

# A stored column: instants are milliseconds since 1970 UTC, details are JSON text.
Stored = str | int | None


class AuditAction(StrEnum):
    """The action. Receipts and results are on their timeline instead."""

    PROJECT_CREATED = "project_created"
    PROJECT_CHANGED = "project_changed"
    PROJECT_SUSPENDED = "project_suspended"
    PROJECT_RESUMED = "project_resumed"
    PROJECT_DELETED = "project_deleted"
    REPAIR_URL_TESTED = "repair_url_tested"
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    SIGNING_SECRET_ROTATED = "signing_secret_rotated"  # noqa: S105 - a name, not a secret
    SIGNING_SECRET_ROTATION_FINISHED = "signing_secret_rotation_finished"  # noqa: S105 - likewise
    USER_CREATED = "user_created"
    USER_DELETED = "user_deleted"
    ADMINISTRATOR_GRANTED = "administrator_granted"
    ADMINISTRATOR_REVOKED = "administrator_revoked"
    ROLE_GRANTED = "role_granted"
    ROLE_CHANGED = "role_changed"
    ROLE_REVOKED = "role_revoked"
    INVITATION_CREATED = "invitation_created"
    INVITATION_WITHDRAWN = "invitation_withdrawn"
    INVITATION_ACCEPTED = "invitation_accepted"
    PASSWORD_SET = "password_set"  # noqa: S105 - likewise
    LOGIN_LINK_CREATED = "login_link_created"
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    SESSIONS_ENDED = "sessions_ended"
    PROOF_FAILED = "proof_failed"
    TRIES_REFUSED = "tries_refused"
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    SECOND_FACTOR_RESET = "second_factor_reset"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RECOVERY_CODE_USED = "recovery_code_used"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_RENAMED = "passkey_renamed"
    PASSKEY_REMOVED = "passkey_removed"
    PASSKEYS_RESET = "passkeys_reset"
    PASSKEY_COUNTER_REFUSED = "passkey_counter_refused"
    IDENTITY_LINKED = "identity_linked"
    REPROCESS_REQUESTED = "reprocess_requested"
    REPAIR_STOPPED = "repair_stopped"
    INCIDENT_ACKNOWLEDGED = "incident_acknowledged"
    INCIDENT_UNACKNOWLEDGED = "incident_unacknowledged"
    INCIDENT_ASSIGNED = "incident_assigned"
    INCIDENT_COMMENTED = "incident_commented"
    INCIDENT_SNOOZED = "incident_snoozed"
    INCIDENT_RESOLVED = "incident_resolved"
    INCIDENT_REOPENED = "incident_reopened"
    GROUP_MUTED = "group_muted"
    GROUP_UNMUTED = "group_unmuted"
    GROUP_ACKNOWLEDGED = "group_acknowledged"
    GROUP_RESOLVED = "group_resolved"
    RECEIPT_EXPIRED = "receipt_expired"
    DEADLINE_MOVED = "deadline_moved"
    PAYLOAD_READ = "payload_read"
    RUN_RESTARTED = "run_restarted"
    SOURCE_ADDED = "source_added"
    SOURCE_CHANGED = "source_changed"
    SOURCE_REMOVED = "source_removed"
    SOURCE_CHECKED = "source_checked"
    DESTINATION_ADDED = "destination_added"
    DESTINATION_CHANGED = "destination_changed"
    DESTINATION_REMOVED = "destination_removed"
    DESTINATION_TESTED = "destination_tested"
    BULK_REPAIR_STARTED = "bulk_repair_started"
    BULK_REPAIR_PAUSED = "bulk_repair_paused"
    BULK_REPAIR_RESUMED = "bulk_repair_resumed"
    BULK_REPAIR_ABORTED = "bulk_repair_aborted"
    HOLD_ADDED = "hold_added"
    HOLD_REMOVED = "hold_removed"
    REPAIR_RULES_CHANGED = "repair_rules_changed"
    REPAIR_RULE_ARMED = "repair_rule_armed"
    SECRET_KEY_ROTATED = "secret_key_rotated"  # noqa: S105 - likewise
    SECRET_KEY_DROPPED = "secret_key_dropped"  # noqa: S105 - likewise
    EVIDENCE_KEY_CREATED = "evidence_key_created"
    BACKUP_STARTED = "backup_started"
    STORE_RESTORED = "store_restored"
    AUDIT_EXPORTED = "audit_exported"
    AUDIT_DAMAGE_FOUND = "audit_damage_found"


class SubjectType(StrEnum):
    """The kind of subject of an action."""

    PROJECT = "project"
    KEY = "key"
    USER = "user"
    INVITATION = "invitation"
    INCIDENT = "incident"
    GROUP = "group"
    RECEIPT = "receipt"
    SOURCE = "source"
    DESTINATION = "destination"
    BULK_REPAIR = "bulk_repair"
    HOLD = "hold"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `id` is a user's or a key's id, `cli:` and the system's user, `temporal`, `visitor`
    or `makegood`; or a destination's id, for a person who used a link in its mail.

    A `visitor` is not signed in. `address` is the connection's address, or the host name for `cli`;
    None when unknown.
    """

    id: str
    address: str | None = None
    request_id: str | None = None

    @property
    def requested_by(self) -> str:
        """The actor as timelines name it."""
        return CLI if self.id.startswith(f"{CLI}:") else self.id


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of an action.

    `id` is None when there is only one such subject, or it is unknown.
    """

    type: SubjectType
    id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A stored entry. `details` is JSON text. `action` is text, because a newer version may have
    written it.
    """

    sequence: int
    at: datetime
    actor: str
    address: str | None
    request_id: str | None
    action: str
    subject_type: str | None
    subject_id: str | None
    project_id: ProjectId | None
    details: str
    previous_hash: str
    hash: str


def chain_hash(row: Mapping[str, Stored]) -> str:
    """Hex SHA-256 of an entry's columns, those of `HASHED`."""
    return hashlib.sha256(_json([row[name] for name in HASHED])).hexdigest()


def details_text(details: Mapping[str, object]) -> str:
    """The details as they are stored and hashed: compact JSON in ASCII, names in order."""
    return _json(details).decode()


def read_details(text: str) -> dict[str, object]:
    """The details that were stored. If the row was tampered with, its text under `text`."""
    try:
        details = json.loads(text)
    except ValueError:
        details = None
    return details if isinstance(details, dict) else {"text": text}


def sealed_text(sequence: int, last_hash: str) -> bytes:
    """The bytes that the seal at the end of the audit log covers."""
    return f"{sequence}:{last_hash}".encode()


class Chain:
    """Verifies the log from its first entry on. `sequence` and `hash` are those of the last valid
    entry.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.hash = GENESIS

    def follow(self, row: Mapping[str, Stored]) -> str | None:
        """The problem with the next entry; None when it is valid."""
        sequence = row["sequence"]
        if not isinstance(sequence, int) or sequence <= self.sequence:
            return "its number is not above the one before"
        if sequence != self.sequence + 1:
            missing = self.sequence + 1
            return (
                f"entry {missing} is missing"
                if sequence == missing + 1
                else f"entries {missing} to {sequence - 1} are missing"
            )
        if chain_hash(row) != row["hash"]:
            return "it was changed: its content does not fit its hash"
        if row["previous_hash"] != self.hash:
            return "it does not follow from the one before: one of the two was exchanged"
        if row["action"] == AuditAction.AUDIT_DAMAGE_FOUND:
            return (
                "when it was written, the log before it had been changed or cut, or the secret key"
                " exchanged"
            )
        self.sequence, self.hash = sequence, str(row["hash"])
        return None


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("ascii")
