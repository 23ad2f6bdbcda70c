"""Makes what must be unique or secret: ids, API keys, signing secrets, tokens. The shapes are `domain.security.api_keys`' and
`domain.ids`'.

Ids are UUIDv7, so that the order of ids is the order of making; never a secret. Secrets come from the system's generator.
"""

import hashlib
import secrets

import uuid_utils

from domain.ids import EventId, IncidentId, KeyId, ProjectId, ReplayId, ResultId, UserId
from domain.security import api_keys as keys

TOKEN_BYTES = 32


def new_event_id() -> EventId:
    return EventId(_new_id("evt_"))


def new_incident_id() -> IncidentId:
    return IncidentId(_new_id("inc_"))


def new_replay_id() -> ReplayId:
    return ReplayId(_new_id("rpl_"))


def new_result_id() -> ResultId:
    return ResultId(_new_id("res_"))


def new_project_id() -> ProjectId:
    return ProjectId(_new_id("prj_"))


def new_key_id() -> KeyId:
    return KeyId(_new_id("key_"))


def new_user_id() -> UserId:
    return UserId(_new_id("usr_"))


def new_invitation_id() -> str:
    """The id of an invitation, which is no secret; its token is."""
    return _new_id("inv_")


def new_secret_id() -> str:
    """The id of a signing secret's row."""
    return _new_id("sec_")


def new_api_key(*, livemode: bool) -> str:
    return keys.api_key_text(secrets.token_bytes(keys.RANDOM_BYTES), livemode=livemode)


def new_signing_secret() -> str:
    return keys.signing_secret_text(secrets.token_bytes(keys.RANDOM_BYTES))


def new_token() -> str:
    """The secret of a login link or a session, fit for an address or a cookie."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_digest(token: str) -> str:
    """What of a token is stored: hex SHA-256, enough for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def _new_id(prefix: str) -> str:
    return prefix + uuid_utils.uuid7().hex
