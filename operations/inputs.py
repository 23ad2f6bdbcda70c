"""What may be asked of a project's settings, checked once for REST, console and command line: shapes, ranges and addresses.

Whether a repair URL may be called is judged by a function that is handed in; nothing here resolves a name.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.errors import FieldError, ValidationFailed
from domain.projects import UNSET, Project, ProjectChanges, Scope
from domain.receipts import MAXIMUM_TIMEOUT_MINUTES, MINIMUM_TIMEOUT_MINUTES
from domain.results import LateResult
from egress.policy import UnsafeUrl, public_refusal_message
from operations.validation import Minutes, timeout_errors
from store.people.email_addresses import LONGEST_ADDRESS, AddressRefused, canonical_address

MAXIMUM_ALERT_EMAILS = 20
LONGEST_NAME = 100
LONGEST_LIFE_DAYS = 3_650
URL_POINTER = "/repair_url"

# The URL in the canonical form that is stored. Raises `UnsafeUrl` when its shape or an address behind it is refused.
JudgeRepairUrl = Callable[[str], Awaitable[str]]


def _deliverable(text: str) -> str:
    """The address in the one form that is stored and sent to."""
    try:
        return canonical_address(text)
    except AddressRefused as refused:
        raise PydanticCustomError("invalid_format", "{why}", {"why": str(refused)}) from None


Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME, strip_whitespace=True, pattern=r"^[^\x00-\x1f]*$")]
EmailAddress = Annotated[str, StringConstraints(max_length=LONGEST_ADDRESS), AfterValidator(_deliverable)]
AlertEmails = Annotated[list[EmailAddress], Field(max_length=MAXIMUM_ALERT_EMAILS)]


class ProjectPatch(BaseModel):
    """New values for some of a project's settings; what is not given stays; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, title="ProjectChanges")

    name: Name = Field(default="", description="Used by no other project.")
    repair_url: str | None = Field(default=None, description="Where repairs are called: https, public. Null removes it.")
    timeout_minutes: Minutes = Field(
        default=0.0,
        description="How long a result may take when its receipt does not say. Whole minutes in a live project.",
        json_schema_extra={"minimum": MINIMUM_TIMEOUT_MINUTES["test"], "maximum": MAXIMUM_TIMEOUT_MINUTES},
    )
    alert_emails: AlertEmails = Field(default_factory=list, description="Who is told of incidents.")
    late_result: LateResult = Field(
        default=LateResult.RESOLVE, description="What a success without `replay_id` does after its incident opened."
    )
    snapshots: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether payloads are kept, encrypted, for 30 days."
    )


class NewProject(BaseModel):
    """A new project as console and command line ask for it."""

    model_config = ConfigDict(frozen=True)

    name: Name
    mode: Annotated[str, StringConstraints(pattern="^(test|live)$")]
    repair_url: str | None
    alert_emails: AlertEmails
    timeout_minutes: Minutes
    scopes: Annotated[list[Scope], Field(min_length=1)]


class NewKey(BaseModel):
    """A new API key as console and command line ask for it."""

    model_config = ConfigDict(frozen=True)

    label: Name
    scopes: Annotated[list[Scope], Field(min_length=1)]
    expires_in_days: Annotated[int, Field(ge=1, le=LONGEST_LIFE_DAYS)] | None = None


async def judged_changes(patch: ProjectPatch, *, project: Project, judge: JudgeRepairUrl) -> ProjectChanges:
    """The changes that the patch asks of this project.

    Raises: ValidationFailed.
    """
    given = patch.model_fields_set
    errors: list[FieldError] = []
    if "timeout_minutes" in given:
        errors.extend(timeout_errors(patch.timeout_minutes, livemode=project.livemode))
    repair_url = patch.repair_url
    if "repair_url" in given and repair_url is not None:
        try:
            repair_url = await judged_url(repair_url, judge=judge)
        except ValidationFailed as refusal:
            errors.extend(refusal.errors)
    if errors:
        raise ValidationFailed(errors=tuple(errors))
    return ProjectChanges(
        name=patch.name if "name" in given else UNSET,
        repair_url=repair_url if "repair_url" in given else UNSET,
        timeout_minutes=patch.timeout_minutes if "timeout_minutes" in given else UNSET,
        alert_emails=tuple(dict.fromkeys(patch.alert_emails)) if "alert_emails" in given else UNSET,
        late_result=patch.late_result if "late_result" in given else UNSET,
        snapshots=patch.snapshots if "snapshots" in given else UNSET,
    )


async def judged_url(url: str, *, judge: JudgeRepairUrl) -> str:
    """The repair URL in the form that is stored.

    Raises: ValidationFailed, which says of what is behind its name only that it cannot be called.
    """
    try:
        return await judge(url)
    except UnsafeUrl:
        raise ValidationFailed(errors=(FieldError(URL_POINTER, "not_allowed", public_refusal_message(url)),)) from None
