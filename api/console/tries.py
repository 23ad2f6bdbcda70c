"""Slows down guessing at sign-in: each try is counted for the account and for the address it comes from, before it is judged.

Known and unknown accounts are counted alike. A browser that signed in to an account before is counted apart from everybody else,
so that a stranger who keeps an account at its limit does not keep out its owner.
"""

import secrets
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from api.addresses import client_address, neighbourhood
from api.console.parts import ConsoleParts
from api.console.sessions import Sessions
from domain.ids import UserId
from domain.throttling import ACCOUNT, ADDRESS, CODE
from domain.users import User
from store import throttling
from store.throttling import Counter

DEVICE = "device"
DEVICE_SECONDS = 180 * 86_400

Counters = tuple[Counter, ...]


class TooManyTries(Exception):
    """Too many tries to sign in, for this account or from this address; the next is possible after `wait_seconds`."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class Tries:
    """Counts tries in the store; made once per process."""

    def __init__(self, parts: ConsoleParts, sessions: Sessions) -> None:
        self._parts = parts
        self._sessions = sessions

    async def begin(self, counters: Counters) -> None:
        """Count a try. Raises: TooManyTries."""
        async with self._parts.database.transaction() as session:
            wait_seconds = await throttling.charge(session, counters, now=await self._parts.database.now(session))
        if wait_seconds is not None:
            raise TooManyTries(wait_seconds)

    async def was_right(self, counters: Counters) -> None:
        """The try that was counted last was no guess."""
        async with self._parts.database.transaction() as session:
            await throttling.take_back(session, counters, now=await self._parts.database.now(session))

    def of_account(self, request: Request, email: str) -> Counters:
        """The counters of an e-mail and password."""
        account = _spelled(email)
        device = self._sessions.state(request, DEVICE, now=self._parts.now())
        if device is not None and device["account"] == _digest(account):
            return (throttling.counter("device", device["id"], ACCOUNT), self._of_address(request))
        return (throttling.counter("account", account, ACCOUNT), self._of_address(request))

    def of_user(self, request: Request, user_id: UserId) -> Counters:
        """The counters of a person's codes and proofs."""
        return (throttling.counter("code", user_id, CODE), self._of_address(request))

    def of_address(self, request: Request) -> Counters:
        """The counters of what names no account: a link, an answer of the identity provider."""
        return (self._of_address(request),)

    def know_device(self, response: Response, user: User) -> Response:
        """This browser signed in as this person: its tries are its own from now on."""
        if user.email is None:
            return response
        state = {"account": _digest(_spelled(user.email)), "id": secrets.token_urlsafe(16)}
        return self._sessions.keep_state(response, DEVICE, state, now=self._parts.now(), seconds=DEVICE_SECONDS)

    def _of_address(self, request: Request) -> Counter:
        address = client_address(request, trusted=self._parts.trusted_proxies)
        return throttling.counter("address", neighbourhood(address), ADDRESS, kept=True)


def _spelled(email: str) -> str:
    return email.strip().lower()


def _digest(account: str) -> str:
    return sha256(account.encode()).hexdigest()
