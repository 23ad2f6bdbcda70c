"""The ceremonies of passkeys: challenges, and answers that are verified against stored passkeys.

A ceremony has three steps: a challenge is stored (`begin`), the browser asks an authenticator, and
its answer uses the challenge up and is verified (`verify`, `verify_new`). Every answer costs its
challenge, also a wrong one. The caller limits attempts, and records the use in the transaction of
what it allows (`record_use`).
"""

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from api.console.composition import ConsoleDependencies
from api.console.sign_in.relying_party import RelyingParty, relying_party, unavailable_text
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import Viewer
from api.console.sign_in.webauthn_verifier import (
    Answer,
    PasskeyRefused,
    creation_options,
    parse_answer,
    request_options,
    verify_creation,
    verify_use,
)
from domain.audit import AuditAction
from domain.ids import UserId
from domain.security.passkeys import Ceremony, NewPasskey, Passkey, is_counter_valid
from domain.users import User
from store.people import passkey_challenges as challenges
from store.people import passkeys as store

logger = structlog.get_logger(__name__)

# The name in the browser's prompt of a user who has no e-mail address yet.
NAMELESS = "Makegood"
EXPIRED = "This took too long, or was sent twice. Try again."
UNKNOWN = "This passkey is not registered here any more. Use another way."
MAY_BE_COPIED = (
    "This passkey was refused: its counter did not grow, so it may have been copied. "
    "Use another way, and then remove the passkey from your account."
)


@dataclass(frozen=True, slots=True)
class UsedPasskey:
    """A passkey that has signed a challenge. `sign_count` is its authenticator's counter now."""

    passkey: Passkey
    user: User
    sign_count: int


class PasskeyCeremonies:
    """Begins and verifies ceremonies. Created once per process.

    `party` is None if no browser allows passkeys at the public URL; `unavailable` says why.
    """

    def __init__(self, parts: ConsoleDependencies, self_service_audit: SelfServiceAudit) -> None:
        self._parts = parts
        self._self_service_audit = self_service_audit
        self.party = relying_party(parts.public_url)
        self.unavailable = "" if self.party else unavailable_text(parts.public_url)

    async def usable(self, user_id: UserId) -> bool:
        """Whether the user has a passkey that works at the public URL."""
        if self.party is None:
            return False
        async with self._parts.database.reading() as session:
            found = await store.list_passkeys(session, user_id)
        return any(one.rp_id == self.party.id for one in found)

    async def begin(
        self, ceremony: Ceremony, *, browser: str, user_id: UserId | None = None
    ) -> str:
        """The options of the browser's prompt, as JSON, with a new challenge.

        `browser` is the secret of the cookie to which the challenge is bound. `user_id` None: any
        user may answer.

        Raises:
            PasskeyRefused: there is no relying party.
        """
        party = self._party()
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            challenge = await challenges.issue_challenge(
                session, ceremony, browser=browser, now=now, user_id=user_id
            )
            allowed = [] if user_id is None else await store.list_passkeys(session, user_id)
        return request_options(party, challenge=challenge, allowed=allowed)

    async def begin_registration(self, viewer: Viewer) -> None:
        """Store a challenge for a new passkey of the viewer. Raises: as `begin`."""
        self._party()
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            await challenges.issue_challenge(
                session,
                Ceremony.REGISTRATION,
                browser=viewer.token,
                now=now,
                user_id=viewer.user_id,
            )

    async def registration_options(self, viewer: Viewer) -> str | None:
        """The options of the prompt for a new passkey, as JSON. None if none has been begun, or it
        was too long ago.
        """
        if self.party is None:
            return None
        async with self._parts.database.reading() as session:
            challenge = await challenges.read_challenge(
                session, Ceremony.REGISTRATION, browser=viewer.token, now=viewer.read_at
            )
            known = await store.list_passkeys(session, viewer.user_id)
        if challenge is None:
            return None
        return creation_options(
            self.party,
            user_id=viewer.user_id,
            user_name=viewer.email or NAMELESS,
            challenge=challenge,
            known=known,
        )

    async def verify_new(self, viewer: Viewer, text: str) -> NewPasskey:
        """The passkey that the viewer's authenticator made. Raises: PasskeyRefused."""
        party, answer = self._party(), parse_answer(text)
        await self._use_challenge(answer, Ceremony.REGISTRATION, viewer.token, viewer.user_id)
        return verify_creation(party, answer)

    async def verify(
        self, text: str, ceremony: Ceremony, *, browser: str, user_id: UserId | None = None
    ) -> UsedPasskey:
        """The passkey that answered a challenge of this browser, of the user `user_id` if given.

        Its counter is not judged yet. Raises: PasskeyRefused.
        """
        try:
            party, answer = self._party(), parse_answer(text)
            await self._use_challenge(answer, ceremony, browser, user_id)
            async with self._parts.database.reading() as session:
                found = await store.find_passkey(session, answer.credential_id)
            if found is None or user_id not in (None, found[1].user_id):
                raise PasskeyRefused(UNKNOWN, "the passkey is unknown, or of another user")
            passkey, user = found
            # Discoverable passkeys return the handle that they were made with: the user's id.
            if answer.user_handle != user.user_id and (user_id is None or answer.user_handle):
                reason = "its user handle is not that of its owner"
                raise PasskeyRefused(UNKNOWN, reason, user_id=user.user_id)
            return UsedPasskey(passkey, user, verify_use(party, answer, passkey))
        except PasskeyRefused as refused:
            logger.warning("passkey refused", ceremony=ceremony.value, reason=refused.reason[:300])
            raise

    async def record_use(
        self, session: AsyncSession, request: Request, used: UsedPasskey, *, now: datetime
    ) -> bool:
        """Store the counter in the transaction of what the passkey allows.

        False: the passkey was removed, or its counter did not grow. The latter is written into the
        audit log, and the caller lets the transaction commit.
        """
        passkey = used.passkey
        if await store.record_use(session, passkey.id, sign_count=used.sign_count, now=now):
            return True
        stored = await store.read_sign_count(session, passkey.id)
        if stored is not None and not is_counter_valid(stored, used.sign_count):
            details = {"passkey": passkey.name, "stored": stored, "given": used.sign_count}
            action, user_id = AuditAction.PASSKEY_COUNTER_REFUSED, passkey.user_id
            await self._self_service_audit.record_of_visitor(
                session, request, action, user_id, now=now, **details
            )
        return False

    async def _use_challenge(
        self, answer: Answer, ceremony: Ceremony, browser: str, user_id: UserId | None
    ) -> None:
        """Use the challenge up, in a transaction of its own. Raises: PasskeyRefused."""
        async with self._parts.database.transaction() as session:
            is_ours = await challenges.use_challenge(
                session,
                answer.challenge,
                ceremony,
                browser=browser,
                now=await self._parts.database.now(session),
                user_id=user_id,
            )
        if not is_ours:
            raise PasskeyRefused(EXPIRED, "the challenge is unknown, used or expired")

    def _party(self) -> RelyingParty:
        if self.party is None:
            raise PasskeyRefused(self.unavailable, "there is no relying party")
        return self.party
