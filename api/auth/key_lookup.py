"""Loads an API key from the store, for the key cache."""

from datetime import datetime

from api.auth.api_keys import Digests, FindKey
from domain.projects import AuthenticatedKey
from store.db.database import Database
from store.projects import api_keys


def key_finder(database: Database) -> FindKey:
    """A function that finds the key with one of these digests, in this store."""

    async def find(digests: Digests) -> AuthenticatedKey | None:
        async with database.key_lookup() as session:
            caller = await api_keys.find_key(session, *digests)
            if caller is None or not is_in_force(caller, await database.now(session)):
                return None
            return caller

    return find


def is_in_force(caller: AuthenticatedKey, now: datetime) -> bool:
    """Whether the key is neither revoked nor expired."""
    expires_at = caller.key.expires_at
    return caller.key.revoked_at is None and (expires_at is None or expires_at > now)
