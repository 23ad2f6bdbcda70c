"""The bodies of bulk repairs, holds and rules, with their limits."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from domain.incidents import Reason
from domain.repairing.bulk import MOST_ITEMS
from domain.repairing.rules import MOST_RULES
from domain.search.query import LONGEST_QUERY
from operations.names import EFFECT_TYPE_SCHEMA, EVENT_TYPE_SCHEMA
from operations.validation import ReasonText, Reference, WireInstant

LONGEST_DELAY_SECONDS = 7 * 24 * 3_600
# A rule's name is part of `requested_by`, which Temporal gets.
RuleName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=58, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"),
]
SearchText = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_QUERY, pattern=r"^[^\x00]*$")
]
WholeNumber = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
IdText = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class PlanBody(BaseModel):
    """How fast a bulk repair begins its repairs, and when it stops itself."""

    model_config = ConfigDict(frozen=True, title="BulkRepairPlan")

    first: Annotated[WholeNumber, Field(ge=1, le=1_000)] = Field(
        default=1, description="So many begin. The rest waits until each of them is decided."
    )
    then: Annotated[WholeNumber, Field(ge=0, le=1_000)] = Field(
        default=5, description="So many more begin at once."
    )
    per_minute: Annotated[WholeNumber, Field(ge=1, le=600)] = Field(
        default=60, description="The pace of the others."
    )
    stop_at_failed_percent: Annotated[WholeNumber, Field(ge=1, le=100)] = Field(
        default=20,
        description="It stops itself when so much of the decided repairs failed, but not before"
        " `first` are decided.",
    )


class BulkRepairBody(BaseModel):
    """The incidents of a bulk repair, by exactly one of `q`, `incident_ids` and `group_id`."""

    model_config = ConfigDict(frozen=True, title="NewBulkRepair")

    q: SearchText | None = Field(
        default=None, description="A search, as in the list of incidents. Oldest first."
    )
    incident_ids: Annotated[list[IdText], Field(min_length=1, max_length=MOST_ITEMS)] | None = (
        Field(default=None, description="Ids of incidents, in the order of their repair.")
    )
    group_id: IdText | None = Field(default=None, description="Those of a group, unresolved.")
    reason: ReasonText = Field(description="Why; shown with the bulk repair.")
    plan: PlanBody = PlanBody()
    dry_run: Flag = Field(default=False, description="Only count what would be done.")
    include_superseded: Flag = Field(
        default=False, description="Repair also what a later event makes doubtful."
    )

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        given = (self.q, self.incident_ids, self.group_id)
        if sum(one is not None for one in given) > 1:
            raise PydanticCustomError(
                "invalid_format", "Give one of q, incident_ids and group_id only."
            )
        return self


class HoldBody(BaseModel):
    """A hold of exactly one of: an effect type, an internal reference, or all incidents."""

    model_config = ConfigDict(frozen=True, title="NewHold")

    effect_type: Annotated[str, EFFECT_TYPE_SCHEMA] | None = None
    internal_reference: Reference | None = None
    all: Flag = False
    reason: ReasonText
    until: WireInstant | None = Field(
        default=None, description="It ends by itself then. Null: when somebody removes it."
    )

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        given = (self.effect_type is not None, self.internal_reference is not None, self.all)
        if sum(given) != 1:
            raise PydanticCustomError(
                "invalid_format", "Give one of effect_type, internal_reference and all: true."
            )
        return self


class RuleBody(BaseModel):
    """A rule of automatic repair. A condition that is null matches everything."""

    model_config = ConfigDict(frozen=True, title="RepairRuleSettings")

    name: RuleName = Field(description="Unique in the list. Repairs name it `rule:NAME`.")
    effect_type: Annotated[str, EFFECT_TYPE_SCHEMA] | None = None
    event_type: Annotated[str, EVENT_TYPE_SCHEMA] | None = None
    reason: Reason | None = None
    error_code: Reference | None = Field(
        default=None, description="A glob: `*`, `?` and `[…]`. The case of letters matters."
    )
    delay_seconds: Annotated[WholeNumber, Field(ge=0, le=LONGEST_DELAY_SECONDS)] = Field(
        description="From the opening of the incident, or from the failure of the rule's repair."
    )
    max_repairs_per_incident: Annotated[WholeNumber, Field(ge=1, le=5)] = 1
    max_per_hour: Annotated[WholeNumber, Field(ge=1, le=10_000)] = 100
    disarm_after_failures: Annotated[WholeNumber, Field(ge=1, le=1_000)] = Field(
        default=5, description="So many failures in a row disarm the rule."
    )


class RulesBody(BaseModel):
    """The whole list of a project's rules. The first rule that matches an incident acts."""

    model_config = ConfigDict(frozen=True, title="RepairRulesSettings")

    rules: Annotated[list[RuleBody], Field(max_length=MOST_RULES)]
