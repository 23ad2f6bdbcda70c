"""The JSON of users, their roles and their sessions."""

from typing import Self

from domain import users
from domain.users import OpenSession, Role
from operations.people.accounts import Account, TotpReset
from operations.people.members import Membership
from operations.people.passkeys import RemovedPasskeys
from operations.people.sessions import EndedSessions
from operations.responses.base import At, OrNewer, Response


class UserFields(Response):
    """The fields of every user."""

    user_id: str
    email: str | None
    has_password: bool


class User(UserFields):
    """A user."""

    @classmethod
    def of(cls, user: users.User) -> Self:
        return cls.from_value(user)


class UserRights(UserFields):
    """A user, and whether they are an administrator."""

    administrator: bool

    @classmethod
    def of(cls, user: users.User, *, is_administrator: bool) -> Self:
        return cls.from_value(user, administrator=is_administrator)


class CreatedUser(UserFields):
    """A new user with their first sign-in link, which works once."""

    administrator: bool
    url: str

    @classmethod
    def of(cls, user: users.User, *, is_administrator: bool, url: str) -> Self:
        return cls.from_value(user, administrator=is_administrator, url=url)


class UserWithRoles(UserFields):
    """A user with their role in each project, by project id."""

    administrator: bool
    roles: dict[str, OrNewer[Role]]

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls.from_value(
            account.user, administrator=account.is_administrator, roles=dict(account.roles)
        )


class UserList(Response):
    """Users, with their role in each project."""

    data: list[UserWithRoles]

    @classmethod
    def of(cls, accounts: list[Account]) -> Self:
        return cls(data=[UserWithRoles.of(account) for account in accounts])


class UserInProject(UserFields):
    """A user and their role in a project; null when they are not a member any more."""

    project_id: str
    role: OrNewer[Role] | None

    @classmethod
    def of(cls, membership: Membership) -> Self:
        return cls.from_value(
            membership.user, project_id=membership.project_id, role=membership.role
        )


class UserWithoutTotp(UserFields):
    """A user, and whether an authenticator app was removed."""

    totp_removed: bool

    @classmethod
    def of(cls, reset: TotpReset) -> Self:
        return cls.from_value(reset.user, totp_removed=reset.was_on)


class UserWithoutPasskeys(UserFields):
    """A user, and the number of their passkeys that were removed."""

    passkeys_removed: int

    @classmethod
    def of(cls, removed: RemovedPasskeys) -> Self:
        return cls.from_value(removed.user, passkeys_removed=removed.count)


class SignedOutUser(UserFields):
    """A user and the number of their sessions that were ended."""

    ended: int

    @classmethod
    def of(cls, ended: EndedSessions) -> Self:
        return cls.from_value(ended.user, ended=ended.count)


class Session(Response):
    """A session of a user; `is_this` marks the one that makes the request."""

    id: str
    created_at: At
    seen_at: At
    address: str
    user_agent: str
    is_this: bool

    @classmethod
    def of(cls, session: OpenSession) -> Self:
        return cls.from_value(session)


class SessionList(Response):
    """The open sessions of a user."""

    data: list[Session]

    @classmethod
    def of(cls, sessions: list[OpenSession]) -> Self:
        return cls(data=[Session.of(session) for session in sessions])
