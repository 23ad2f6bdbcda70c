"""What a running process does about the root secrets: it refuses to start without the one in force,
and it replaces the digests of API keys.

The text of an API key is not stored, so the process that sees it digests it again. The replacement
itself is in `store.crypto.root_secret`.
"""

from collections.abc import Mapping
from contextlib import suppress

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.ids import KeyId
from store.crypto.encryption import Sealer
from store.crypto.root_secret import SECRET_FACT, root_in_force
from store.db.database import Database
from store.schema.tables import API_KEYS
from store.status.heartbeats import read_fact


async def refuse_unknown_secret(database: Database, sealer: Sealer) -> None:
    """Return if the root secret in force is known, or if the store is unavailable.

    A process without it would refuse valid keys.

    Raises: SecretUnknown.
    """
    # Unavailable or without its tables: both are reported elsewhere.
    with suppress(Unavailable, SQLAlchemyError):
        async with database.reading() as session:
            await root_in_force(session, sealer)


async def redigest_keys(session: AsyncSession, sealer: Sealer, used: Mapping[KeyId, str]) -> None:
    """Replace the digests of used keys with the current root secret, once it is in force."""
    if not used or await read_fact(session, SECRET_FACT) != sealer.current.fingerprint:
        return
    # the same order in every process, against deadlocks
    for key_id, digest in sorted(used.items()):
        values = {"digest": digest, "digested_with": sealer.current.fingerprint}
        await session.execute(update(API_KEYS).where(API_KEYS.c.id == key_id).values(values))
