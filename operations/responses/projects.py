"""The JSON of projects, and of their API keys and signing secrets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self

from domain import projects
from domain.projects import Mode, Scope
from domain.results import EarlyResults, LateResult
from operations.credentials.api_keys import CreatedKey
from operations.credentials.signing_secrets import CreatedSigningSecret
from operations.projects import DeletedProject
from operations.responses.base import WARNINGS, At, OrNewer, Response


class ProjectFields(Response):
    """The fields of every project."""

    project_id: str
    name: str
    mode: Literal[Mode.TEST, Mode.LIVE]
    livemode: bool
    repair_url: str | None
    repair_url_gone: bool
    timeout_minutes: int | float
    late_result: OrNewer[LateResult]
    early_results: OrNewer[EarlyResults]
    snapshots: bool
    acknowledge_minutes: int
    silent_after_minutes: int | None
    silent_event_types: dict[str, int | None]
    alert_emails: list[str]
    providers: list[str]
    event_types: list[str]
    effect_types: list[str]
    group_window_minutes: int | float
    alert_window_minutes: int | float
    suspended: bool
    created_at: At

    @classmethod
    def from_project(cls, project: projects.Project, **fields: object) -> Self:
        return cls.from_value(
            project,
            project_id=project.id,
            timeout_minutes=int_if_whole(project.timeout_minutes),
            group_window_minutes=int_if_whole(project.group_window_minutes),
            alert_window_minutes=int_if_whole(project.alert_window_minutes),
            suspended=project.is_suspended,
            providers=list(project.providers.current),
            event_types=list(project.event_types.current),
            effect_types=list(project.effect_types.current),
            silent_event_types=dict(project.silent_event_types),
            **fields,
        )


class Project(ProjectFields):
    """A project's settings, without its secrets."""

    @classmethod
    def of(cls, project: projects.Project) -> Self:
        return cls.from_project(project)


class ChangedProject(ProjectFields):
    """A project after a change."""

    warnings: list[str] = WARNINGS

    @classmethod
    def of(cls, project: projects.Project, warnings: Sequence[str]) -> Self:
        return cls.from_project(project, warnings=list(warnings))


class ProjectList(Response):
    """Projects, oldest first."""

    data: list[Project]

    @classmethod
    def of(cls, listed: list[projects.Project]) -> Self:
        return cls(data=[Project.of(project) for project in listed])


class ProjectInRotation(ProjectFields):
    """A project. Callbacks carry two signatures until this instant; null without a rotation."""

    signature_overlap_ends_at: At | None

    @classmethod
    def of(cls, project: projects.Project, ends_at: datetime | None) -> Self:
        return cls.from_project(project, signature_overlap_ends_at=ends_at)


class CreatedProject(ProjectFields):
    """A new project with its key and signing secret, which no later response contains."""

    key_id: str
    api_key: str
    signing_secret: str

    @classmethod
    def of(cls, created: projects.CreatedProject) -> Self:
        return cls.from_project(
            created.project,
            key_id=created.key.id,
            api_key=created.api_key,
            signing_secret=created.signing_secret,
        )


class Deletion(Response):
    """A deleted project, and the number of its receipts that the deletion ended."""

    project_id: str
    name: str
    deleted: Literal[True]
    receipts_ended: int

    @classmethod
    def of(cls, deleted: DeletedProject) -> Self:
        return cls.from_value(deleted, deleted=True)


class SigningSecret(Response):
    """A new signing secret, which no later response contains."""

    project_id: str
    signing_secret: str
    overlap_ends_at: At

    @classmethod
    def of(cls, created: CreatedSigningSecret) -> Self:
        return cls.from_value(created)


class KeyFields(Response):
    """The fields of every API key. `hint` identifies the key without its text."""

    key_id: str
    label: str
    hint: str
    scopes: list[OrNewer[Scope]]
    created_at: At
    expires_at: At | None
    revoked_at: At | None
    last_used_at: At | None

    @classmethod
    def from_key(cls, key: projects.Key, **fields: object) -> Self:
        return cls.from_value(key, key_id=key.id, scopes=sorted(key.scopes), **fields)


class Key(KeyFields):
    """An API key without its text."""

    @classmethod
    def of(cls, key: projects.Key) -> Self:
        return cls.from_key(key)


class KeyList(Response):
    """The keys of a project, including revoked ones."""

    data: list[Key]

    @classmethod
    def of(cls, keys: list[projects.Key]) -> Self:
        return cls(data=[Key.of(key) for key in keys])


class KeyWithText(KeyFields):
    """A new API key with its text, which no later response contains."""

    api_key: str

    @classmethod
    def of(cls, created: CreatedKey) -> Self:
        return cls.from_key(created.key, api_key=created.api_key)


def int_if_whole(number: float) -> float | int:
    """A whole number as an int, so that JSON has 30 instead of 30.0."""
    return int(number) if number.is_integer() else number
