"""The input models of projects and keys, with their limits, for REST, the console and the CLI.

Nothing here resolves a name. A function that the caller passes in judges whether a repair URL may
be called.
"""

from dataclasses import replace
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.errors import FieldError, ValidationFailed
from domain.groups.group import (
    DEFAULT_ALERT_WINDOW_MINUTES,
    DEFAULT_GROUP_WINDOW_MINUTES,
    LONGEST_ALERT_WINDOW_MINUTES,
    LONGEST_GROUP_WINDOW_MINUTES,
)
from domain.names import (
    BUILT_IN_EFFECT_TYPES,
    BUILT_IN_EVENT_TYPES,
    BUILT_IN_PROVIDERS,
    NAME_PATTERN,
)
from domain.overview.silence import MAXIMUM_SILENT_MINUTES, MOST_EVENT_TYPES
from domain.projects import UNSET, Mode, Project, ProjectChanges, Scope
from domain.receipts import MAXIMUM_TIMEOUT_MINUTES, MINIMUM_TIMEOUT_MINUTES
from domain.results import EarlyResults, LateResult
from egress.policy import UnsafeUrl, public_refusal_message
from operations.names import OwnNameList
from operations.validation import Minutes, check_form, timeout_errors
from store.people.email_addresses import LONGEST_ADDRESS, AddressRefused, canonical_address

MAXIMUM_ALERT_EMAILS = 20
LONGEST_NAME = 100
LONGEST_LIFE_DAYS = 3_650
URL_POINTER = "/repair_url"
_WINDOWS = {
    "group_window_minutes": LONGEST_GROUP_WINDOW_MINUTES,
    "alert_window_minutes": LONGEST_ALERT_WINDOW_MINUTES,
}
_BUILT_IN = {
    "providers": BUILT_IN_PROVIDERS,
    "event_types": BUILT_IN_EVENT_TYPES,
    "effect_types": BUILT_IN_EFFECT_TYPES,
}


class JudgeRepairUrl(Protocol):
    """Judges the repair URL of a live or a test project.

    Returns it in its stored, canonical form. Raises `UnsafeUrl` when its shape is not allowed, or
    an address that it resolves to.
    """

    async def __call__(self, url: str, /, *, livemode: bool) -> str: ...


def _deliverable(text: str) -> str:
    """The address in its canonical form, which is stored and used for sending."""
    try:
        return canonical_address(text)
    except AddressRefused as refused:
        raise PydanticCustomError("invalid_format", "{why}", {"why": str(refused)}) from None


_NAME = r"^[^\x00-\x1f]*$"
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_NAME, strip_whitespace=True),
    check_form(_NAME, "Must be one line, without control characters."),
    Field(json_schema_extra={"pattern": _NAME}),
]
EmailAddress = Annotated[
    str, StringConstraints(max_length=LONGEST_ADDRESS), AfterValidator(_deliverable)
]
# At most as long as any acknowledgement: 30 days.
AcknowledgeMinutes = Annotated[int, Field(strict=True, ge=1, le=43_200)]
SilentMinutes = Annotated[int, Field(strict=True, ge=0, le=MAXIMUM_SILENT_MINUTES)] | None
SilentEventTypes = Annotated[
    dict[Annotated[str, StringConstraints(pattern=NAME_PATTERN)], SilentMinutes],
    Field(max_length=MOST_EVENT_TYPES),
]
AlertEmails = Annotated[list[EmailAddress], Field(max_length=MAXIMUM_ALERT_EMAILS)]


class ProjectPatch(BaseModel):
    """New values for some settings of a project. Omitted settings keep their value."""

    model_config = ConfigDict(frozen=True, title="ProjectChanges")

    name: Name = Field(default="", description="Unique among all projects.")
    repair_url: str | None = Field(
        default=None,
        description="The public https URL that repair callbacks are sent to. Null removes it.",
    )
    timeout_minutes: Minutes = Field(
        default=0.0,
        description="Minutes until a result is due, by default. Whole minutes in a live project.",
        json_schema_extra={
            "minimum": MINIMUM_TIMEOUT_MINUTES["test"],
            "maximum": MAXIMUM_TIMEOUT_MINUTES,
        },
    )
    alert_emails: AlertEmails = Field(
        default_factory=list, description="The addresses that alerts about incidents are sent to."
    )
    late_result: LateResult = Field(
        default=LateResult.RESOLVE,
        description="The effect of a late success without `replay_id` on the open incident.",
    )
    early_results: EarlyResults = Field(
        default=EarlyResults.REFUSE,
        description="Whether a result that comes before its receipt is refused, or held for 24 h.",
    )
    snapshots: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether payloads are stored, encrypted, for 30 days."
    )
    acknowledge_minutes: AcknowledgeMinutes = Field(
        default=240, description="Minutes until an acknowledgement ends, by default."
    )
    silent_after_minutes: SilentMinutes = Field(
        default=None,
        description="Minutes without a receipt after which the project is silent. 0: never. Null:"
        " learned from the last 14 days, in a live project.",
    )
    silent_event_types: SilentEventTypes = Field(
        default_factory=dict,
        description="Event types that are watched apart, with the same of each. Replaces all.",
    )
    providers: OwnNameList = Field(
        default_factory=list,
        description="Providers of your own, in addition to stripe and shopify.",
    )
    event_types: OwnNameList = Field(
        default_factory=list, description="More event types of stripe and shopify."
    )
    effect_types: OwnNameList = Field(
        default_factory=list, description="More business effects that your app applies."
    )
    group_window_minutes: Minutes = Field(
        default=DEFAULT_GROUP_WINDOW_MINUTES,
        description="Minutes after its last incident in which a group takes another one of the"
        " same cause. 0: each incident is a group of its own.",
        json_schema_extra={"minimum": 0, "maximum": LONGEST_GROUP_WINDOW_MINUTES},
    )
    alert_window_minutes: Minutes = Field(
        default=DEFAULT_ALERT_WINDOW_MINUTES,
        description="Minutes in which the alerts of a group are gathered into one. Whole minutes"
        " in a live project.",
        json_schema_extra={
            "minimum": MINIMUM_TIMEOUT_MINUTES["test"],
            "maximum": LONGEST_ALERT_WINDOW_MINUTES,
        },
    )


class NewProject(BaseModel):
    """The input of the console and the command line for a new project."""

    model_config = ConfigDict(frozen=True)

    name: Name
    mode: Mode
    repair_url: str | None
    alert_emails: AlertEmails
    timeout_minutes: Minutes
    scopes: Annotated[list[Scope], Field(min_length=1)]


class NewKey(BaseModel):
    """The input of the console and the command line for a new API key."""

    model_config = ConfigDict(frozen=True)

    label: Name
    scopes: Annotated[list[Scope], Field(min_length=1)]
    expires_in_days: Annotated[int, Field(ge=1, le=LONGEST_LIFE_DAYS)] | None = None


async def judged_changes(
    patch: ProjectPatch, *, project: Project, judge: JudgeRepairUrl
) -> ProjectChanges:
    """The patch as changes of this project, with its timeout and repair URL checked.

    Raises: ValidationFailed.
    """
    given = patch.model_fields_set
    errors: list[FieldError] = []
    if "timeout_minutes" in given:
        errors.extend(timeout_errors(patch.timeout_minutes, livemode=project.livemode))
    errors.extend(_window_errors(patch, livemode=project.livemode))
    repair_url = patch.repair_url
    if "repair_url" in given and repair_url is not None:
        try:
            repair_url = await judged_url(repair_url, livemode=project.livemode, judge=judge)
        except ValidationFailed as refusal:
            errors.extend(refusal.errors)
    errors.extend(_own_name_errors(patch))
    if errors:
        raise ValidationFailed(errors=tuple(errors))
    windows: dict[str, float] = {name: getattr(patch, name) for name in _WINDOWS if name in given}
    names = {name: _own_names(getattr(patch, name)) for name in _BUILT_IN if name in given}
    changes = ProjectChanges(
        name=patch.name if "name" in given else UNSET,
        repair_url=repair_url if "repair_url" in given else UNSET,
        timeout_minutes=patch.timeout_minutes if "timeout_minutes" in given else UNSET,
        alert_emails=tuple(dict.fromkeys(patch.alert_emails)) if "alert_emails" in given else UNSET,
        late_result=patch.late_result if "late_result" in given else UNSET,
        early_results=patch.early_results if "early_results" in given else UNSET,
        snapshots=patch.snapshots if "snapshots" in given else UNSET,
        acknowledge_minutes=patch.acknowledge_minutes if "acknowledge_minutes" in given else UNSET,
        silent_after_minutes=(
            patch.silent_after_minutes if "silent_after_minutes" in given else UNSET
        ),
        silent_event_types=patch.silent_event_types if "silent_event_types" in given else UNSET,
    )
    # Any: each name has the type of its field.
    named: dict[str, Any] = {**windows, **names}
    return replace(changes, **named)


def _window_errors(patch: ProjectPatch, *, livemode: bool) -> list[FieldError]:
    """The errors of the given windows. A test project also takes parts of a minute."""
    errors = []
    for name in sorted(_WINDOWS.keys() & patch.model_fields_set):
        minutes: float = getattr(patch, name)
        longest, is_group = _WINDOWS[name], name == "group_window_minutes"
        least = 0.0 if is_group else MINIMUM_TIMEOUT_MINUTES["live" if livemode else "test"]
        if livemode and not minutes.is_integer():
            message = "Must be a whole number of minutes in a live project."
            errors.append(FieldError(f"/{name}", "wrong_type", message))
        elif not least <= minutes <= longest:
            message = f"Must be from {least:g} to {longest:,} minutes."
            errors.append(FieldError(f"/{name}", "out_of_range", message))
    return errors


def _own_names(names: list[str]) -> tuple[str, ...]:
    """Each name once, in the order given."""
    return tuple(dict.fromkeys(names))


def _own_name_errors(patch: ProjectPatch) -> list[FieldError]:
    """A name of the contract in a project's set would seem to be removable."""
    message = "Every project has this name: remove it from the list."
    return [
        FieldError(f"/{setting}/{position}", "not_allowed", message)
        for setting, built_in in _BUILT_IN.items()
        for position, name in enumerate(getattr(patch, setting))
        if name in built_in
    ]


async def judged_url(
    url: str, *, livemode: bool, judge: JudgeRepairUrl, pointer: str = URL_POINTER
) -> str:
    """The repair URL, or another URL that a user names, in its stored form.

    Raises: ValidationFailed. Its message does not reveal what the name resolves to.
    """
    try:
        return await judge(url, livemode=livemode)
    except UnsafeUrl:
        error = FieldError(pointer, "not_allowed", public_refusal_message(url))
        raise ValidationFailed(errors=(error,)) from None
