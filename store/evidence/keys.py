"""The instance's key for evidence: random, sealed in the store like other secrets.

The private key is sealed with a data key of its own, which the master key wraps. A rotation of the
root secret therefore keeps it, and a backup contains it. At most one key is current, by a unique
index. When it is replaced, its private key is erased and its public key stays.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.security.evidence import key_id
from domain.values.timestamps import to_unix_ms
from store.crypto.encryption import Sealer
from store.crypto.root_secret import root_of_new_data_key
from store.evidence.signatures import new_private_key, public_key_of, sign
from store.schema.tables import EVIDENCE_KEYS

CURRENT, RETIRED = "current", "retired"
# Two processes may create the first key at the same moment: one of them does.
_INSERT = text(
    "INSERT INTO evidence_keys (id, role, public_key, data_key, sealed, created_at)"
    " VALUES (:id, 'current', :public_key, :data_key, :sealed, :created_at)"
    " ON CONFLICT DO NOTHING RETURNING id"
)


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """A public key, 64 hex digits. `retired_at` is None while it signs."""

    id: str
    public_key: str
    created_at: datetime
    retired_at: datetime | None


async def read_evidence_keys(session: AsyncSession) -> list[EvidenceKey]:
    """Every key that ever signed here, newest first. The current one, if there is one, is first."""
    order = (EVIDENCE_KEYS.c.role, EVIDENCE_KEYS.c.created_at.desc(), EVIDENCE_KEYS.c.id)
    rows = await session.execute(select(EVIDENCE_KEYS).order_by(*order))
    return [EvidenceKey(row.id, row.public_key, row.created_at, row.retired_at) for row in rows]


async def read_current_key(session: AsyncSession) -> EvidenceKey | None:
    """The key that signs; None before the first one."""
    keys = await read_evidence_keys(session)
    return keys[0] if keys and keys[0].retired_at is None else None


async def create_evidence_key(
    session: AsyncSession, sealer: Sealer, *, now: datetime
) -> EvidenceKey | None:
    """Create the key that signs from now on. None if another process did so at this moment.

    Raises: SecretUnknown.
    """
    private_key = new_private_key()
    public_key = public_key_of(private_key)
    identifier = key_id(public_key)
    root = await root_of_new_data_key(session, sealer)
    data_key = root.new_data_key(identifier)
    values = {
        "id": identifier,
        "public_key": public_key,
        "data_key": data_key,
        "sealed": _seal(sealer, data_key, identifier, private_key),
        "created_at": to_unix_ms(now),
    }
    if (await session.execute(_INSERT, values)).first() is None:
        return None
    return EvidenceKey(identifier, public_key, now, None)


async def retire_current_key(session: AsyncSession, *, now: datetime) -> str | None:
    """Erase the private key that signs. Returns its id; None if there is none."""
    retired = (
        update(EVIDENCE_KEYS)
        .where(EVIDENCE_KEYS.c.role == CURRENT)
        .values(role=RETIRED, retired_at=now, data_key=None, sealed=None)
    )
    identifier: str | None = await session.scalar(retired.returning(EVIDENCE_KEYS.c.id))
    return identifier


async def sign_with(
    session: AsyncSession, sealer: Sealer, key: EvidenceKey, statement: bytes
) -> bytes:
    """The signature of the current key. Raises: SealBroken."""
    row = (await session.execute(select(EVIDENCE_KEYS).where(EVIDENCE_KEYS.c.id == key.id))).one()
    private_key = sealer.open(
        row.data_key,
        project_id=key.id,
        table="evidence_keys",
        column="sealed",
        row=key.id,
        sealed=row.sealed,
    )
    return sign(private_key, statement)


def _seal(sealer: Sealer, data_key: bytes, identifier: str, private_key: bytes) -> bytes:
    return sealer.seal(
        data_key,
        project_id=identifier,
        table="evidence_keys",
        column="sealed",
        row=identifier,
        plaintext=private_key,
    )
