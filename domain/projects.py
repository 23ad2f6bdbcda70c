"""The project: who sends receipts, where repairs are called, who is told; its keys with their scopes."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, Literal

from domain.ids import KeyId, ProjectId
from domain.results import LateResult


class Scope(StrEnum):
    """What a key may do. A new key may `ingest` alone unless others are asked for."""

    INGEST = "ingest"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Project:
    """A project as stored. `repair_url_gone`: its receiver answered 410, and it was not saved again since."""

    id: ProjectId
    name: str
    livemode: bool
    repair_url: str | None
    repair_url_gone: bool
    timeout_minutes: float
    late_result: LateResult
    snapshots: bool
    alert_emails: tuple[str, ...]
    is_suspended: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as people see it; its text is shown once, when it is made. `expires_at` None: it does not expire."""

    id: KeyId
    project_id: ProjectId
    label: str
    hint: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """A key that is current, and the project it speaks for.

    `is_outdated`: it was found under a digest that is not the first of those asked for, and is to be stored under that one.
    """

    key: Key
    project: Project
    is_outdated: bool = False


@dataclass(frozen=True, slots=True)
class CreatedProject:
    """A new project with its first key; the only time that `api_key` and `signing_secret` are shown."""

    project: Project
    key: Key
    api_key: str
    signing_secret: str


class Unset(Enum):
    """The type of `UNSET`: leave the field as it is, which None could not say."""

    UNSET = "unset"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
Untouched = Literal[Unset.UNSET]


@dataclass(frozen=True, slots=True)
class ProjectChanges:
    """New values for some of a project's fields. `repair_url` None removes it; given at all, it is no longer gone."""

    name: str | Untouched = UNSET
    repair_url: str | Untouched | None = UNSET
    timeout_minutes: float | Untouched = UNSET
    alert_emails: tuple[str, ...] | Untouched = UNSET
    late_result: LateResult | Untouched = UNSET
    snapshots: bool | Untouched = UNSET
