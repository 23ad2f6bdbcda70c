"""Rules of automatic repair: which incident each matches, and when it acts.

`first_match` chooses the rule of an incident. `domain` does no I/O: the store counts and decides
with `store.repairing.rule_turns`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate
from functools import lru_cache

from domain.ids import ProjectId, RuleId
from domain.incidents import RepairCause

REQUESTED_BY = "rule:"
MOST_RULES = 50
# The rule's own repairs that failed with another cause do not count: the app reported success
# without it, or an operator resolved the incident.
FAILURES = frozenset(
    {
        RepairCause.REJECTED,
        RepairCause.EXHAUSTED,
        RepairCause.NO_RESULT,
        RepairCause.FAILED_RESULT,
        RepairCause.REPAIR_URL_MISSING,
    }
)


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule as its project writes it. None in a condition: it matches everything.

    `error_code` is a glob: `*`, `?` and `[…]`. A disarm needs `disarm_after_failures` failures in a
    row.
    """

    name: str
    effect_type: str | None
    event_type: str | None
    reason: str | None
    error_code: str | None
    delay_seconds: int
    max_repairs_per_incident: int
    max_per_hour: int
    disarm_after_failures: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A stored rule. `failures` counts those in a row. `disarmed_at` None: it is armed."""

    id: RuleId
    project_id: ProjectId
    spec: RuleSpec
    failures: int
    disarmed_at: datetime | None

    @property
    def requested_by(self) -> str:
        """How its repairs name it."""
        return f"{REQUESTED_BY}{self.spec.name}"


@dataclass(frozen=True, slots=True)
class RuleSubject:
    """The facts of an incident that conditions of rules are about."""

    effect_type: str
    event_type: str
    reason: str
    error_code: str | None


def first_match(rules: Sequence[Rule], subject: RuleSubject) -> Rule | None:
    """The first rule that matches the incident; None if there is none."""
    return next((rule for rule in rules if matches(rule.spec, subject)), None)


def matches(spec: RuleSpec, subject: RuleSubject) -> bool:
    """Whether each condition of the rule holds. An incident without an error code matches only a
    rule without that condition.
    """
    equal = (
        (spec.effect_type, subject.effect_type),
        (spec.event_type, subject.event_type),
        (spec.reason, subject.reason),
    )
    if any(wanted is not None and wanted != found for wanted, found in equal):
        return False
    if spec.error_code is None:
        return True
    return subject.error_code is not None and bool(
        _pattern(spec.error_code).fullmatch(subject.error_code)
    )


@lru_cache(maxsize=1_000)
def _pattern(glob: str) -> re.Pattern[str]:
    """The glob as a pattern; the case of letters matters."""
    return re.compile(translate(glob))
