"""The JSON of people and sessions, written out in full."""

import json
from datetime import UTC, datetime, timedelta

from domain.ids import ProjectId, UserId
from domain.users import OpenSession, Role, User
from operations.people.accounts import Account, TotpReset
from operations.people.members import Membership
from operations.people.passkeys import RemovedPasskeys
from operations.people.sessions import EndedSessions
from operations.responses import people

AT = datetime(2026, 11, 23, 11, 13, 55, 123_456, tzinfo=UTC)
AT_TEXT = "2026-11-23T11:13:55.123Z"
LATER, LATER_TEXT = AT + timedelta(hours=1), "2026-11-23T12:13:55.123Z"
PROJECT_ID = ProjectId("prj_1")
USER = User(UserId("usr_1"), "ada@shop.example", has_password=True)
USER_JSON = {"user_id": "usr_1", "email": "ada@shop.example", "has_password": True}


def text(value: object) -> str:
    """The JSON text, which also compares the order of names and 30 with 30.0."""
    return json.dumps(value)


def test_user_is_serialized_with_what_was_done() -> None:
    account = Account(USER, is_administrator=True, roles={PROJECT_ID: Role.OWNER})
    created = people.CreatedUser.of(USER, is_administrator=False, url="https://x/login")

    assert text(people.User.of(USER).to_json()) == text(USER_JSON)
    assert text(people.UserList.of([account]).to_json()) == text(
        {"data": [{**USER_JSON, "administrator": True, "roles": {"prj_1": "owner"}}]}
    )
    assert text(created.to_json()) == text(
        {**USER_JSON, "administrator": False, "url": "https://x/login"}
    )
    assert text(people.UserRights.of(USER, is_administrator=True).to_json()) == text(
        {**USER_JSON, "administrator": True}
    )
    assert text(people.UserInProject.of(Membership(USER, PROJECT_ID, None)).to_json()) == text(
        {**USER_JSON, "project_id": "prj_1", "role": None}
    )
    assert text(people.UserWithoutTotp.of(TotpReset(USER, was_on=True)).to_json()) == text(
        {**USER_JSON, "totp_removed": True}
    )
    assert text(people.UserWithoutPasskeys.of(RemovedPasskeys(USER, 2)).to_json()) == text(
        {**USER_JSON, "passkeys_removed": 2}
    )
    assert text(people.SignedOutUser.of(EndedSessions(USER, 3)).to_json()) == text(
        {**USER_JSON, "ended": 3}
    )


def test_session_is_serialized() -> None:
    session = OpenSession("ses_1", AT, LATER, "192.0.2.1", "curl/8", is_this=False)

    assert text(people.SessionList.of([session]).to_json()) == text(
        {
            "data": [
                {
                    "id": "ses_1",
                    "created_at": AT_TEXT,
                    "seen_at": LATER_TEXT,
                    "address": "192.0.2.1",
                    "user_agent": "curl/8",
                    "is_this": False,
                }
            ]
        }
    )
