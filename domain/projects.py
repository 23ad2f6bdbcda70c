"""The project: its settings, repair URL and alert destinations; and its API keys with their
scopes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, Literal

from domain.alerts import AlertChannel, AlertDestination
from domain.groups.group import DEFAULT_ALERT_WINDOW_MINUTES, DEFAULT_GROUP_WINDOW_MINUTES
from domain.ids import KeyId, ProjectId
from domain.names import NO_NAMES, OwnNames
from domain.results import EarlyResults, LateResult


class Mode(StrEnum):
    """Whether a project is for tests or for production."""

    TEST = "test"
    LIVE = "live"


class Scope(StrEnum):
    """The rights of a key. A new key has `ingest` only, unless others are requested."""

    INGEST = "ingest"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Project:
    """A stored project. `repair_url_gone`: the endpoint answered 410, and the URL was not saved
    again since. `silent_after_minutes` 0: it is never silent; None: that is learned.
    `silent_event_types` are event types that are watched apart, with the same of each.
    """

    id: ProjectId
    name: str
    livemode: bool
    repair_url: str | None
    repair_url_gone: bool
    timeout_minutes: float
    late_result: LateResult | str
    snapshots: bool
    alert_destinations: tuple[AlertDestination, ...]
    is_suspended: bool
    created_at: datetime
    early_results: EarlyResults | str = EarlyResults.REFUSE
    providers: OwnNames = NO_NAMES
    event_types: OwnNames = NO_NAMES
    effect_types: OwnNames = NO_NAMES
    acknowledge_minutes: int = 240
    group_window_minutes: float = DEFAULT_GROUP_WINDOW_MINUTES
    alert_window_minutes: float = DEFAULT_ALERT_WINDOW_MINUTES
    silent_after_minutes: int | None = None
    silent_event_types: tuple[tuple[str, int | None], ...] = ()

    @property
    def alert_emails(self) -> tuple[str, ...]:
        """The addresses of its e-mail destinations, in their order."""
        return tuple(
            destination.target
            for destination in self.alert_destinations
            if destination.channel == AlertChannel.EMAIL and destination.target is not None
        )

    @property
    def mode(self) -> Mode:
        return Mode.LIVE if self.livemode else Mode.TEST


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its text, which is shown once at creation. `expires_at` None: it does not
    expire.
    """

    id: KeyId
    project_id: ProjectId
    label: str
    hint: str
    scopes: frozenset[Scope | str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """A key that is not revoked, and its project.

    `is_outdated`: it was found under an older digest and should be stored again under the first of
    the digests asked for.
    """

    key: Key
    project: Project
    is_outdated: bool = False


@dataclass(frozen=True, slots=True)
class CreatedProject:
    """A new project with its first key. `api_key` and `signing_secret` are shown only here."""

    project: Project
    key: Key
    api_key: str
    signing_secret: str


class Unset(Enum):
    """The type of `UNSET`: leave the field unchanged. None cannot mean that, since it removes a
    value.
    """

    UNSET = "unset"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
Untouched = Literal[Unset.UNSET]


@dataclass(frozen=True, slots=True)
class ProjectChanges:
    """New values for some of a project's fields.

    `repair_url` None removes it. Any given value, even the same one, clears `repair_url_gone`.
    `alert_emails` replaces the e-mail destinations, and leaves those of other channels.
    """

    name: str | Untouched = UNSET
    repair_url: str | Untouched | None = UNSET
    timeout_minutes: float | Untouched = UNSET
    alert_emails: tuple[str, ...] | Untouched = UNSET
    late_result: LateResult | Untouched = UNSET
    snapshots: bool | Untouched = UNSET
    early_results: EarlyResults | Untouched = UNSET
    providers: tuple[str, ...] | Untouched = UNSET
    event_types: tuple[str, ...] | Untouched = UNSET
    effect_types: tuple[str, ...] | Untouched = UNSET
    acknowledge_minutes: int | Untouched = UNSET
    group_window_minutes: float | Untouched = UNSET
    alert_window_minutes: float | Untouched = UNSET
    silent_after_minutes: int | Untouched | None = UNSET
    silent_event_types: Mapping[str, int | None] | Untouched = UNSET
