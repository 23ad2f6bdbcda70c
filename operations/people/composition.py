"""Composes the operations on people into one value."""

from dataclasses import dataclass

from operations.audit_writer import AuditWriter
from operations.people.accounts import AccountOperations
from operations.people.invitations import InvitationOperations
from operations.people.members import MemberOperations
from operations.people.passkeys import PasskeyOperations
from operations.people.sessions import SessionOperations
from store.crypto.encryption import Sealer
from store.db.database import Database


@dataclass(frozen=True, slots=True)
class People:
    """All operations on people, on an opened store."""

    accounts: AccountOperations
    sessions: SessionOperations
    members: MemberOperations
    invitations: InvitationOperations
    passkeys: PasskeyOperations

    @classmethod
    def build(cls, database: Database, sealer: Sealer) -> "People":
        """Compose the operations on this store."""
        writer = AuditWriter(database, sealer)
        return cls(
            accounts=AccountOperations(database, writer),
            sessions=SessionOperations(database, writer),
            members=MemberOperations(database, writer),
            invitations=InvitationOperations(database, writer),
            passkeys=PasskeyOperations(database, writer),
        )
