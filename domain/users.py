"""The people who sign in to the console, and what each may do in which project."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import ProjectId, UserId


class Role(StrEnum):
    """What a member may do in a project; each role may do what those before it may."""

    VIEWER = "viewer"  # read
    OPERATOR = "operator"  # and reprocess, acknowledge, resolve, expire
    OWNER = "owner"  # and change settings, keys, secrets and members

    def allows(self, needed: "Role") -> bool:
        """Whether whoever has this role may do what the other is needed for."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class User:
    """A person. `email` is None, and `has_password` false, until the first sign-in by link is completed with a password."""

    user_id: UserId
    email: str | None
    has_password: bool


@dataclass(frozen=True, slots=True)
class Access:
    """Where a person belongs. An administrator is owner of every project, and has the pages of the installation."""

    is_administrator: bool
    roles: Mapping[ProjectId, Role]

    def role_in(self, project_id: ProjectId) -> Role | None:
        """None where the person is no member: to him the project does not exist."""
        return Role.OWNER if self.is_administrator else self.roles.get(project_id)

    def allows(self, needed: Role, *, project_id: ProjectId) -> bool:
        role = self.role_in(project_id)
        return role is not None and role.allows(needed)

    @property
    def owns_any(self) -> bool:
        """Whether there is a project whose audit log the person may see."""
        return self.is_administrator or Role.OWNER in self.roles.values()

    @property
    def projects(self) -> tuple[ProjectId, ...] | None:
        """The projects that lists and counts are narrowed to; None for all."""
        return None if self.is_administrator else tuple(self.roles)


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a project."""

    user_id: UserId
    email: str | None
    role: Role
    since: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """Somebody who was asked into a project and has not come yet. `id` names it; the token of its link is kept by nobody."""

    id: str
    project_id: ProjectId
    project_name: str
    email: str
    role: Role
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A browser that is signed in. `address` and `user_agent` are where it signed in from, as it said itself."""

    id: str
    created_at: datetime
    seen_at: datetime
    address: str
    user_agent: str
    is_this: bool
