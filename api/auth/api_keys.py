"""Who calls: from an API key to its project, by way of a cache of key digests, never of keys.

A digest is trusted for `TRUST_SECONDS` from the moment its row was read, so a revoked key stops working within that time; one
in use is read again in the background after half of it, so that no request waits. Digests that no key has are remembered as
long, in a bounded number. What nobody is known by is looked up one at a time, in a bounded queue of its own. A key that was
known once never waits there, whatever else is changed or made up. The gate's order is the contract's: key, scope, suspension,
rate.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime

from api.auth.rate_limit import RateLimit
from api.http.request_headers import Headers, bearer_token
from domain.errors import Forbidden, SubscriptionRequired, TooManyUnknownKeys, Unauthorized
from domain.ids import KeyId, ProjectId
from domain.projects import AuthenticatedKey, Scope
from domain.security.api_keys import looks_like_key

TRUST_SECONDS = 5.0
REFRESH_SECONDS = 2.5
MAXIMUM_REMEMBERED = 10_000
MAXIMUM_STRANGERS = 1_000  # that wait to be looked up: about a second's work

Digests = tuple[str, ...]  # those under which one key may be stored: one for each root secret, the current one's first
# The key with one of these digests as the store has it now; None when there is none, or it is revoked or has expired.
FindKey = Callable[[Digests], Awaitable[AuthenticatedKey | None]]


@dataclass(slots=True)
class _Known:
    """What the store said of a digest, and when it was asked, on the monotonic clock."""

    caller: AuthenticatedKey | None
    asked_at: float
    is_being_refreshed: bool = False


class ApiKeyCache:
    """The digests that this process has seen lately."""

    def __init__(self, *, find_key: FindKey, digests: Callable[[str], Digests], clock: Callable[[], float]) -> None:
        self._find_key, self._digests, self._clock = find_key, digests, clock
        self._known: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Task[AuthenticatedKey | None]] = {}
        # One at a time of those not known to be somebody's: anyone can make up more of them than the store can look up.
        self._unknown_key_lookups = asyncio.Semaphore(1)
        self._waiting_strangers = 0
        # For each question that the store has now: the projects that were changed since it was asked.
        self._changed: dict[str, set[ProjectId]] = {}
        self._used: set[KeyId] = set()
        self._outdated: dict[KeyId, str] = {}

    async def caller(self, token: str | None) -> AuthenticatedKey:
        """The key's row and project.

        Raises: Unauthorized; TooManyUnknownKeys; Unavailable when the store does not answer.
        """
        if token is None:
            raise Unauthorized
        digests = self._digests(token)
        known = self._known.get(digests[0])
        if known is None and not looks_like_key(token):
            raise Unauthorized  # the store is not asked for what cannot be a key
        age_seconds = TRUST_SECONDS if known is None else self._clock() - known.asked_at
        if known is None or age_seconds >= TRUST_SECONDS:
            # Shielded: who stops waiting must not take the answer from the others.
            caller = await asyncio.shield(self._look_up(digests))
        else:
            caller = known.caller
            if caller is not None and age_seconds > REFRESH_SECONDS and not known.is_being_refreshed:
                known.is_being_refreshed = True
                self._look_up(digests).add_done_callback(_forget_failure)
        if caller is None:
            raise Unauthorized
        self._used.add(caller.key.id)
        return caller

    def take_used(self) -> frozenset[KeyId]:
        """The keys used since this was last asked."""
        used, self._used = frozenset(self._used), set()
        return used

    def take_outdated(self) -> dict[KeyId, str]:
        """The keys seen since this was last asked that are stored under another digest than this one."""
        outdated, self._outdated = self._outdated, {}
        return outdated

    def forget(self, project_id: ProjectId) -> None:
        """Trust nothing of this project that was read before now: this process has just changed it or one of its keys.

        Its keys stay known, so that they are looked up before any stranger.
        """
        expired_at = self._clock() - TRUST_SECONDS
        for known in self._known.values():
            if known.caller is not None and known.caller.project.id == project_id:
                known.asked_at = min(known.asked_at, expired_at)
        for changed in self._changed.values():
            changed.add(project_id)

    def _make_room(self) -> None:
        """Anyone can make up what looks like a key: those that no key has go first, and take no known one with them.

        Then the half of them that was asked about longest ago: of a key in use the store is asked every few seconds.
        """
        self._known = {digest: known for digest, known in self._known.items() if known.caller is not None}
        if len(self._known) >= MAXIMUM_REMEMBERED:
            by_age = sorted(self._known.items(), key=lambda item: item[1].asked_at)
            self._known = dict(by_age[len(by_age) // 2 :])

    def _look_up(self, digests: Digests) -> "asyncio.Task[AuthenticatedKey | None]":
        """One question to the store for all who wait for the same answer. Raises: TooManyUnknownKeys."""
        lookup = self._lookups.get(digests[0])
        if lookup is None:
            known = self._known.get(digests[0])
            is_stranger = known is None or known.caller is None
            if is_stranger and self._waiting_strangers >= MAXIMUM_STRANGERS:
                raise TooManyUnknownKeys(retry_after_seconds=1)
            self._waiting_strangers += is_stranger
            lookup = asyncio.create_task(self._ask_in_turn(digests, is_stranger=is_stranger))
            self._lookups[digests[0]] = lookup
        return lookup

    async def _ask_in_turn(self, digests: Digests, *, is_stranger: bool) -> AuthenticatedKey | None:
        digest = digests[0]
        try:
            async with self._unknown_key_lookups if is_stranger else nullcontext():
                caller = await self._ask(digests)
        finally:
            self._waiting_strangers -= is_stranger
            del self._lookups[digest]
            if (known := self._known.get(digest)) is not None:
                known.is_being_refreshed = False
        if caller is not None and caller.is_outdated:
            self._outdated[caller.key.id] = digest
        return caller

    async def _ask(self, digests: Digests) -> AuthenticatedKey | None:
        """What the store says; asked once more when the project was changed meanwhile, and trusted unless it was again."""
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
        if digest not in self._known and len(self._known) >= MAXIMUM_REMEMBERED:
            self._make_room()
        self._known[digest] = _Known(caller, asked_at)
        return caller


class Authenticator:
    """Lets a caller in who may do what is asked."""

    def __init__(self, *, keys: ApiKeyCache, limit: RateLimit) -> None:
        self._keys, self._limit = keys, limit

    async def admit(self, headers: Headers, *scopes: Scope) -> AuthenticatedKey:
        """The caller, whose key has one of these scopes and whose project may send now.

        Raises: Unauthorized, Forbidden, SubscriptionRequired, RateLimited, TooManyUnknownKeys, Unavailable.
        """
        caller = await self._keys.caller(bearer_token(headers.get(b"authorization")))
        if caller.key.scopes.isdisjoint(scopes):
            raise Forbidden(f"This call needs a key with the scope {' or '.join(scope.value for scope in scopes)}.")
        if caller.project.is_suspended:
            raise SubscriptionRequired
        self._limit.take(caller.project.id)
        return caller


def is_in_force(caller: AuthenticatedKey, now: datetime) -> bool:
    """Neither revoked nor expired."""
    expires_at = caller.key.expires_at
    return caller.key.revoked_at is None and (expires_at is None or expires_at > now)


def _forget_failure(lookup: "asyncio.Task[AuthenticatedKey | None]") -> None:
    """A refresh that failed is asked again by the next request; until the trust ends, nobody is turned away for it."""
    if not lookup.cancelled():
        lookup.exception()
