"""Slows down guessing at sign-in: each try is counted for the account and for the address it comes from, before it is judged.

Known and unknown accounts are counted alike. A browser that signed in to an account before is counted apart from everybody else,
so that a stranger who keeps an account at its limit does not keep out its owner.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.auth.audit_actor import actor_of
from api.console.composition import ConsoleParts
from api.console.sign_in.sessions import Sessions
from api.http.client_address import login_attempt_origin
from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import UserId
from domain.security.login_backoff import ACCOUNT, ADDRESS, CODE
from domain.users import User
from store.audit import log as audit
from store.people import login_attempts as throttling
from store.people import users
from store.people.email_addresses import sign_in_address
from store.people.login_attempts import Counter

DEVICE = "device"
DEVICE_SECONDS = 180 * 86_400

Counters = tuple[Counter, ...]


@dataclass(frozen=True, slots=True)
class Try:
    """A try to sign in or to prove oneself: what it counts for, and what the audit log tells of it if it is wrong or too early.

    Whom it was tried as is told if there is such an account, by `user_id` or `email`; never what was typed.
    """

    counters: Counters
    actor: Actor
    action: AuditAction
    details: Mapping[str, str]
    user_id: UserId | None = None
    email: str | None = None


class TooManyLoginAttempts(Exception):
    """Too many tries to sign in, for this account or from this address; the next is possible after `wait_seconds`."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class LoginAttempts:
    """Counts tries in the store; made once per process."""

    def __init__(self, parts: ConsoleParts, sessions: Sessions) -> None:
        self._parts = parts
        self._sessions = sessions

    async def begin(self, one: Try) -> None:
        """Count a try. Raises: TooManyLoginAttempts, which the audit log has once for each wait: it must not be filled from
        outside.
        """
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            wait_seconds = await throttling.charge(session, one.counters, now=now)
            if wait_seconds is not None and await throttling.is_first_refusal(session, one.counters, now=now):
                await self._record(session, one, AuditAction.TRIES_REFUSED, now=now, wait_seconds=wait_seconds)
        if wait_seconds is not None:
            raise TooManyLoginAttempts(wait_seconds)

    async def was_right(self, one: Try) -> None:
        """The try that was counted last was no guess."""
        async with self._parts.database.transaction() as session:
            await throttling.take_back(session, one.counters, now=await self._parts.database.now(session))

    async def record_failure(self, one: Try) -> None:
        """It stays counted, and the audit log tells of it."""
        async with self._parts.database.transaction() as session:
            await self._record(session, one, one.action, now=await self._parts.database.now(session))

    def with_password(self, request: Request, email: str) -> Try:
        """To sign in by e-mail and password."""
        return self._sign_in(request, self._of_account(request, email), by="password", email=email)

    def with_link(self, request: Request) -> Try:
        """To sign in by a link, which names no account."""
        return self._sign_in(request, self._of_address(request), by="link")

    def with_issuer(self, request: Request) -> Try:
        """To sign in with what the identity provider answered."""
        return self._sign_in(request, self._of_address(request), by="oidc")

    def with_code(self, request: Request, user_id: UserId, *, after: str) -> Try:
        """To sign in by a code, after the first factor."""
        one = self._sign_in(request, self._of_user(request, user_id), by="code", user_id=user_id)
        return replace(one, details={**one.details, "after": after})

    def to_prove(self, request: Request, user_id: UserId, *, by: str) -> Try:
        """To prove, signed in, whose the session is; at the identity provider its tries count for the address alone."""
        counters = self._of_address(request) if by == "oidc" else self._of_user(request, user_id)
        return Try(counters, actor_of(request, user_id), AuditAction.PROOF_FAILED, {"by": by}, user_id)

    def remember_device(self, response: Response, user: User) -> Response:
        """This browser signed in as this person: its tries are its own from now on."""
        if user.email is None:
            return response
        state = {"account": _digest(sign_in_address(user.email)), "id": secrets.token_urlsafe(16)}
        return self._sessions.keep_state(response, DEVICE, state, now=self._parts.now(), seconds=DEVICE_SECONDS)

    def _sign_in(
        self, request: Request, counters: Counters, *, by: str, user_id: UserId | None = None, email: str | None = None
    ) -> Try:
        """Who fails to sign in is nobody, whatever name was given."""
        return Try(counters, actor_of(request), AuditAction.SIGN_IN_FAILED, {"by": by}, user_id, email)

    async def _record(self, session: AsyncSession, one: Try, action: AuditAction, *, now: datetime, **more: object) -> None:
        user_id = one.user_id if one.email is None else await users.find_user_id(session, one.email)
        subject, details = Subject(SubjectType.USER, user_id), {**one.details, **more}
        await audit.record(session, self._parts.sealer, one.actor, action, now=now, subject=subject, details=details)

    def _of_account(self, request: Request, email: str) -> Counters:
        account = sign_in_address(email)
        device = self._sessions.state(request, DEVICE, now=self._parts.now())
        if device is not None and device["account"] == _digest(account):
            return (throttling.counter("device", device["id"], ACCOUNT), *self._of_address(request))
        return (throttling.counter("account", account, ACCOUNT), *self._of_address(request))

    def _of_user(self, request: Request, user_id: UserId) -> Counters:
        """What codes and proofs count for."""
        return (throttling.counter("code", user_id, CODE), *self._of_address(request))

    def _of_address(self, request: Request) -> Counters:
        """Nothing where an address would be everybody's: a try there still counts for its account."""
        origin = login_attempt_origin(request, trusted=self._parts.trusted_proxies)
        return () if origin is None else (throttling.counter("address", origin, ADDRESS, kept=True),)


def _digest(account: str) -> str:
    return sha256(account.encode()).hexdigest()
