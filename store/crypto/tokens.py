"""Creates ids, API keys, signing secrets and tokens.

Their shapes are in `domain.ids` and `domain.security.api_keys`. Ids are UUIDv7, so they sort by
time of creation; an id is never a secret. Secrets come from the operating system's random
generator.
"""

import hashlib
import secrets

import uuid_utils

from domain.ids import (
    BulkId,
    DestinationId,
    EventId,
    GroupId,
    HoldId,
    IncidentId,
    KeyId,
    PasskeyId,
    ProjectId,
    ReplayId,
    ResultId,
    RuleId,
    SourceId,
    UserId,
)
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


def new_destination_id() -> DestinationId:
    """The id of an alert destination."""
    return DestinationId(_new_id("dst_"))


def new_source_id() -> SourceId:
    return SourceId(_new_id("src_"))


def new_group_id() -> GroupId:
    """The id of a group of incidents."""
    return GroupId(_new_id("grp_"))


def new_bulk_id() -> BulkId:
    return BulkId(_new_id("blk_"))


def new_hold_id() -> HoldId:
    return HoldId(_new_id("hld_"))


def new_rule_id() -> RuleId:
    return RuleId(_new_id("rul_"))


def new_passkey_id() -> PasskeyId:
    return PasskeyId(_new_id("psk_"))


def new_invitation_id() -> str:
    """The id of an invitation. It is not a secret; the invitation's token is."""
    return _new_id("inv_")


def new_view_id() -> str:
    """An id of a saved view."""
    return _new_id("view_")


def new_secret_id() -> str:
    """The id of a signing secret's row."""
    return _new_id("sec_")


def new_api_key(*, livemode: bool) -> str:
    return keys.api_key_text(secrets.token_bytes(keys.RANDOM_BYTES), livemode=livemode)


def new_signing_secret() -> str:
    return keys.signing_secret_text(secrets.token_bytes(keys.RANDOM_BYTES))


def new_token() -> str:
    """The secret of a login link or a session, safe in a URL and in a cookie."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_digest(token: str) -> str:
    """The stored form of a token: hex SHA-256, which is enough for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def _new_id(prefix: str) -> str:
    return prefix + uuid_utils.uuid7().hex
