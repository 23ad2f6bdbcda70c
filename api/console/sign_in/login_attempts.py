"""Limits guessing at sign-in: each attempt is counted per account and per client address, before it
is checked.

Known and unknown accounts are counted alike. A browser that has signed in to an account before has
its own counter, so that a stranger who exhausts the account's limit does not lock out its owner.
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
from api.console.composition import ConsoleDependencies
from api.console.sign_in.cookies import StateCookie
from api.console.sign_in.sessions import Sessions
from api.http.client_address import login_attempt_origin
from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import UserId
from domain.security.login_backoff import ACCOUNT, ADDRESS, CODE
from domain.users import User
from store.audit import log as audit
from store.people import login_attempts as counters_store
from store.people import users
from store.people.email_addresses import sign_in_address
from store.people.login_attempts import Counter

DEVICE = StateCookie("device", seconds=180 * 86_400)

Counters = tuple[Counter, ...]


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """An attempt to sign in or to confirm an identity: its counters, and its audit entry if it
    fails.

    The entry names the account, by `user_id` or `email`, if there is one. It never holds what was
    typed.
    """

    counters: Counters
    actor: Actor
    action: AuditAction
    details: Mapping[str, str]
    user_id: UserId | None = None
    email: str | None = None


class TooManyLoginAttempts(Exception):
    """Too many attempts for this account or from this address.

    The next is possible after `wait_seconds`.
    """

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class LoginAttempts:
    """Counts attempts in the database. Created once per process."""

    def __init__(self, parts: ConsoleDependencies, sessions: Sessions) -> None:
        self._parts = parts
        self._sessions = sessions

    async def count(self, attempt: LoginAttempt) -> None:
        """Count an attempt. The audit log records one refusal per wait, so that strangers cannot
        fill it.

        Raises:
            TooManyLoginAttempts: the limit is reached.
        """
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            wait_seconds = await counters_store.charge(session, attempt.counters, now=now)
            if wait_seconds is not None and await counters_store.is_first_refusal(
                session, attempt.counters, now=now
            ):
                await self._record(
                    session, attempt, AuditAction.TRIES_REFUSED, now=now, wait_seconds=wait_seconds
                )
        if wait_seconds is not None:
            raise TooManyLoginAttempts(wait_seconds)

    async def record_success(self, attempt: LoginAttempt) -> None:
        """The attempt succeeded: take back its count."""
        async with self._parts.database.transaction() as session:
            await counters_store.take_back(
                session, attempt.counters, now=await self._parts.database.now(session)
            )

    async def record_failure(self, attempt: LoginAttempt) -> None:
        """The attempt failed: keep its count and write it into the audit log."""
        async with self._parts.database.transaction() as session:
            await self._record(
                session, attempt, attempt.action, now=await self._parts.database.now(session)
            )

    def by_password(self, request: Request, email: str) -> LoginAttempt:
        """Sign-in by email and password."""
        return self._sign_in(
            request, self._account_counters(request, email), by="password", email=email
        )

    def by_link(self, request: Request) -> LoginAttempt:
        """Sign-in by a link, which names no account."""
        return self._sign_in(request, self._address_counters(request), by="link")

    def by_oidc(self, request: Request) -> LoginAttempt:
        """Sign-in by the response of the identity provider."""
        return self._sign_in(request, self._address_counters(request), by="oidc")

    def by_passkey(self, request: Request) -> LoginAttempt:
        """Sign-in by a passkey, whose account is not known before it is verified."""
        return self._sign_in(request, self._address_counters(request), by="passkey")

    def begin_passkey(self, request: Request) -> LoginAttempt:
        """Begin a ceremony without a session: it stores a challenge. It counts by itself, so that
        people who cancel the browser's prompt keep their attempts.
        """
        counters = self._address_counters(request, kind="challenge")
        return self._sign_in(request, counters, by="passkey")

    def by_second_factor(
        self, request: Request, user_id: UserId, *, by: str, after: str
    ) -> LoginAttempt:
        """Sign-in by a code or a passkey, after the first factor."""
        attempt = self._sign_in(
            request, self._user_counters(request, user_id), by=by, user_id=user_id
        )
        return replace(attempt, details={**attempt.details, "after": after})

    def for_step_up(self, request: Request, user_id: UserId, *, by: str) -> LoginAttempt:
        """Step-up of a signed-in user. By OIDC, attempts count for the address only."""
        counters = (
            self._address_counters(request)
            if by == "oidc"
            else self._user_counters(request, user_id)
        )
        return LoginAttempt(
            counters, actor_of(request, user_id), AuditAction.PROOF_FAILED, {"by": by}, user_id
        )

    def remember_device(self, response: Response, user: User) -> Response:
        """Give this browser its own counter for the account of the user."""
        if user.email is None:
            return response
        state = {"account": _digest(sign_in_address(user.email)), "id": secrets.token_urlsafe(16)}
        return self._sessions.set_state(response, DEVICE, state, now=self._parts.now())

    def _sign_in(
        self,
        request: Request,
        counters: Counters,
        *,
        by: str,
        user_id: UserId | None = None,
        email: str | None = None,
    ) -> LoginAttempt:
        """The actor of a failed sign-in is the visitor, whichever name was given."""
        return LoginAttempt(
            counters, actor_of(request), AuditAction.SIGN_IN_FAILED, {"by": by}, user_id, email
        )

    async def _record(
        self,
        session: AsyncSession,
        attempt: LoginAttempt,
        action: AuditAction,
        *,
        now: datetime,
        **more: object,
    ) -> None:
        user_id = (
            attempt.user_id
            if attempt.email is None
            else await users.find_user_id(session, attempt.email)
        )
        subject, details = Subject(SubjectType.USER, user_id), {**attempt.details, **more}
        await audit.record(
            session,
            self._parts.sealer,
            attempt.actor,
            action,
            now=now,
            subject=subject,
            details=details,
        )

    def _account_counters(self, request: Request, email: str) -> Counters:
        account = sign_in_address(email)
        device = self._sessions.read_state(request, DEVICE, now=self._parts.now())
        if device is not None and device["account"] == _digest(account):
            return (
                counters_store.counter("device", device["id"], ACCOUNT),
                *self._address_counters(request),
            )
        return (
            counters_store.counter("account", account, ACCOUNT),
            *self._address_counters(request),
        )

    def _user_counters(self, request: Request, user_id: UserId) -> Counters:
        """Counters of codes and step-up proofs."""
        return (counters_store.counter("code", user_id, CODE), *self._address_counters(request))

    def _address_counters(self, request: Request, *, kind: str = "address") -> Counters:
        """No counter if many clients share the address.

        The attempt still counts for its account.
        """
        origin = login_attempt_origin(request, trusted=self._parts.trusted_proxies)
        return () if origin is None else (counters_store.counter(kind, origin, ADDRESS, kept=True),)


def _digest(account: str) -> str:
    return sha256(account.encode()).hexdigest()
