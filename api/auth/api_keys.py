"""Authenticates API keys: finds the project of a key, with a cache of key digests.

The cache follows these rules:

1. It contains digests, never keys.
2. A digest is trusted for `TRUST_SECONDS` after its row was read. A revoked key stops working
   within that time.
3. The digest of a key in use is read again in the background after half of that time, so that
   requests do not wait.
4. Digests without a key are cached for the same time, in a bounded number.
5. Unknown digests are looked up one at a time, in a bounded queue. A key that is already known
   never waits in this queue.

`Authenticator` checks in the contract's order: key, scope, suspension, rate.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass

from api.auth.rate_limit import RateLimit
from api.http.request_headers import bearer_token
from domain.errors import Forbidden, SubscriptionRequired, TooManyUnknownKeys, Unauthorized
from domain.ids import KeyId, ProjectId
from domain.projects import AuthenticatedKey, Scope
from domain.security.api_keys import looks_like_key

TRUST_SECONDS = 5.0
REFRESH_SECONDS = 2.5
MAXIMUM_CACHED = 10_000
MAXIMUM_WAITING_LOOKUPS = 1_000  # unknown keys in the queue: about one second of work

# The digests of one key: one for each root secret, the current secret's first.
Digests = tuple[str, ...]
# Loads the key with one of these digests; None for an unknown, revoked or expired key.
FindKey = Callable[[Digests], Awaitable[AuthenticatedKey | None]]


@dataclass(slots=True)
class _Known:
    """A cached look-up of a digest. `asked_at` is its start on the monotonic clock."""

    caller: AuthenticatedKey | None
    asked_at: float
    is_being_refreshed: bool = False


class ApiKeyCache:
    """The recently used key digests of this process."""

    def __init__(
        self, *, find_key: FindKey, digests: Callable[[str], Digests], clock: Callable[[], float]
    ) -> None:
        self._find_key, self._digests, self._clock = find_key, digests, clock
        self._known: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Task[AuthenticatedKey | None]] = {}
        # One look-up of unknown keys at a time: anybody can send more of them than the store can
        # look up.
        self._unknown_key_lookups = asyncio.Semaphore(1)
        self._waiting_lookups = 0
        # For each running query: the projects that changed since it began.
        self._changed: dict[str, set[ProjectId]] = {}
        self._used: set[KeyId] = set()
        self._outdated: dict[KeyId, str] = {}

    async def caller(self, token: str | None) -> AuthenticatedKey:
        """The key and its project.

        Raises: Unauthorized; TooManyUnknownKeys; Unavailable when the store does not answer.
        """
        if token is None:
            raise Unauthorized
        digests = self._digests(token)
        known = self._known.get(digests[0])
        if known is None and not looks_like_key(token):
            raise Unauthorized  # not a key: no query needed
        age_seconds = TRUST_SECONDS if known is None else self._clock() - known.asked_at
        if known is None or age_seconds >= TRUST_SECONDS:
            # Shielded: a cancelled request must not cancel the look-up of the others.
            caller = await asyncio.shield(self._look_up(digests))
        else:
            caller = known.caller
            is_due = caller is not None and age_seconds > REFRESH_SECONDS
            if is_due and not known.is_being_refreshed:
                known.is_being_refreshed = True
                self._look_up(digests).add_done_callback(_ignore_failure)
        if caller is None:
            raise Unauthorized
        self._used.add(caller.key.id)
        return caller

    def drain_used_keys(self) -> frozenset[KeyId]:
        """The keys used since the last call."""
        used, self._used = frozenset(self._used), set()
        return used

    def drain_outdated_keys(self) -> dict[KeyId, str]:
        """The keys seen since the last call with an outdated stored digest, and the current one."""
        outdated, self._outdated = self._outdated, {}
        return outdated

    def forget(self, project_id: ProjectId) -> None:
        """Expire the project's cached keys, after this process changed the project or a key.

        The keys stay known, so that their look-up does not wait behind unknown keys.
        """
        expired_at = self._clock() - TRUST_SECONDS
        for known in self._known.values():
            if known.caller is not None and known.caller.project.id == project_id:
                known.asked_at = min(known.asked_at, expired_at)
        for changed in self._changed.values():
            changed.add(project_id)

    def _make_room(self) -> None:
        """Drop digests without a key first, because anybody can send any number of them.

        If that is not enough, drop the half that was looked up longest ago. Keys in use are
        looked up every few seconds.
        """
        self._known = {
            digest: known for digest, known in self._known.items() if known.caller is not None
        }
        if len(self._known) >= MAXIMUM_CACHED:
            by_age = sorted(self._known.items(), key=lambda item: item[1].asked_at)
            self._known = dict(by_age[len(by_age) // 2 :])

    def _look_up(self, digests: Digests) -> "asyncio.Task[AuthenticatedKey | None]":
        """Start a look-up, or join the running one. Raises: TooManyUnknownKeys."""
        lookup = self._lookups.get(digests[0])
        if lookup is None:
            known = self._known.get(digests[0])
            is_unknown = known is None or known.caller is None
            if is_unknown and self._waiting_lookups >= MAXIMUM_WAITING_LOOKUPS:
                raise TooManyUnknownKeys(retry_after_seconds=1)
            self._waiting_lookups += is_unknown
            lookup = asyncio.create_task(self._look_up_in_turn(digests, is_unknown=is_unknown))
            self._lookups[digests[0]] = lookup
        return lookup

    async def _look_up_in_turn(
        self, digests: Digests, *, is_unknown: bool
    ) -> AuthenticatedKey | None:
        digest = digests[0]
        try:
            async with self._unknown_key_lookups if is_unknown else nullcontext():
                caller = await self._query(digests)
        finally:
            self._waiting_lookups -= is_unknown
            del self._lookups[digest]
            if (known := self._known.get(digest)) is not None:
                known.is_being_refreshed = False
        if caller is not None and caller.is_outdated:
            self._outdated[caller.key.id] = digest
        return caller

    async def _query(self, digests: Digests) -> AuthenticatedKey | None:
        """Query the store and cache the result.

        If the project changed meanwhile, query once more. If it changed again, cache the result
        as already expired.
        """
        digest = digests[0]
        for _ in range(2):
            asked_at = self._clock()
            changed = self._changed[digest] = set()
            try:
                caller = await self._find_key(digests)
            finally:
                del self._changed[digest]
            if caller is None or caller.project.id not in changed:
                break
            asked_at -= TRUST_SECONDS
        if digest not in self._known and len(self._known) >= MAXIMUM_CACHED:
            self._make_room()
        self._known[digest] = _Known(caller, asked_at)
        return caller


class Authenticator:
    """Checks whether a caller may make a request."""

    def __init__(self, *, keys: ApiKeyCache, limit: RateLimit) -> None:
        self._keys, self._limit = keys, limit

    async def authorize(self, authorization: bytes | None, *scopes: Scope) -> AuthenticatedKey:
        """The caller, if their key has one of these scopes and their project may send now.

        `authorization` is the header; None if the request has none.

        Raises: Unauthorized, Forbidden, SubscriptionRequired, RateLimited, TooManyUnknownKeys,
            Unavailable.
        """
        caller = await self._keys.caller(bearer_token(authorization))
        if caller.key.scopes.isdisjoint(scopes):
            names = " or ".join(scope.value for scope in scopes)
            raise Forbidden(f"This call needs a key with the scope {names}.")
        if caller.project.is_suspended:
            raise SubscriptionRequired
        self._limit.take(caller.project.id)
        return caller


def _ignore_failure(lookup: "asyncio.Task[AuthenticatedKey | None]") -> None:
    """Ignore a failed refresh: the next request tries again while the cached key is trusted."""
    if not lookup.cancelled():
        lookup.exception()
