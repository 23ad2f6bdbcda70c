"""The people who sign in to the console, and their rights in each project."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import ProjectId, UserId


class Role(StrEnum):
    """The rights of a member in a project. Each role includes the ones before it."""

    VIEWER = "viewer"  # read
    OPERATOR = "operator"  # and reprocess, acknowledge, resolve, expire
    OWNER = "owner"  # and change settings, keys, secrets and members

    def allows(self, needed: "Role") -> bool:
        """Whether this role includes the rights of `needed`."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class User:
    """A user. `email` is None and `has_password` false until they complete the first sign-in by
    link.
    """

    user_id: UserId
    email: str | None
    has_password: bool


@dataclass(frozen=True, slots=True)
class Access:
    """A user's roles. An administrator is owner of every project and also sees the installation's
    pages.
    """

    is_administrator: bool
    roles: Mapping[ProjectId, Role | str]

    def role_in(self, project_id: ProjectId) -> Role | None:
        """The role in the project; None for a non-member, to whom the project does not exist.

        A role of a newer version grants nothing here.
        """
        role = Role.OWNER if self.is_administrator else self.roles.get(project_id)
        return role if isinstance(role, Role) else None

    def allows(self, needed: Role, *, project_id: ProjectId) -> bool:
        role = self.role_in(project_id)
        return role is not None and role.allows(needed)

    @property
    def owns_any(self) -> bool:
        """Whether the user may read the audit log of any project."""
        return self.is_administrator or Role.OWNER in self.roles.values()

    @property
    def projects(self) -> tuple[ProjectId, ...] | None:
        """The projects that lists and counts are limited to; None for all."""
        known = tuple(one for one, role in self.roles.items() if isinstance(role, Role))
        return None if self.is_administrator else known


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a project."""

    user_id: UserId
    email: str | None
    role: Role | str
    since: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation into a project. The token of its link is not stored, only its digest."""

    id: str
    project_id: ProjectId
    project_name: str
    email: str
    role: Role | str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A browser session that is signed in. `address` and `user_agent` are those of the sign-in
    request.
    """

    id: str
    created_at: datetime
    seen_at: datetime
    address: str
    user_agent: str
    is_this: bool
