"""Replaces the digests of API keys while the root secret is replaced.

The text of a key is not stored, so a process that sees it digests it again
(`store.crypto.root_secret`).
"""

from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import KeyId
from store.crypto.encryption import Sealer
from store.crypto.root_secret import SECRET_FACT
from store.schema.tables import API_KEYS
from store.status.heartbeats import read_fact


async def redigest_keys(session: AsyncSession, sealer: Sealer, used: Mapping[KeyId, str]) -> None:
    """Replace the digests of used keys with the current root secret, once it is in force."""
    if not used or await read_fact(session, SECRET_FACT) != sealer.current.fingerprint:
        return
    # the same order in every process, against deadlocks
    for key_id, digest in sorted(used.items()):
        values = {"digest": digest, "digested_with": sealer.current.fingerprint}
        await session.execute(update(API_KEYS).where(API_KEYS.c.id == key_id).values(values))
