"""What the checker is given beside a history, and what it says of one: bounds, violations, counts,
lateness.

Values only. `Rule` names everything that can be violated; `MEANINGS` says what each rule holds, for
the report and the command line.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil

# Faults that can strike between sending and recording, as `kind:target` patterns: a copy is allowed
# across one of them only.
_STORE = ("kill:postgres", "stop:postgres", "store_away:*", "store_read_only:*", "disk_full:*")
_BETWEEN = ("kill:worker*", "stop:worker*", *_STORE)


class Rule(StrEnum):
    LOST_RECEIPT = "lost_receipt"
    UNSTABLE_RECEIPT = "unstable_receipt"
    UNEXPLAINED_EVENT = "unexplained_event"
    DOUBLED_RECEIPT = "doubled_receipt"
    LOST_RESULT = "lost_result"
    INEFFECTIVE_RESULT = "ineffective_result"
    UNEXPLAINED_RESULT = "unexplained_result"
    MISSING_INCIDENT = "missing_incident"
    FALSE_INCIDENT = "false_incident"
    DUPLICATE_INCIDENT = "duplicate_incident"
    EARLY_INCIDENT = "early_incident"
    LATE_INCIDENT = "late_incident"
    LATE_MAIL = "late_mail"
    MISSING_MAIL = "missing_mail"
    FALSE_MAIL = "false_mail"
    MAIL_COPY = "mail_copy"
    MAIL_IDENTITY = "mail_identity"
    BAD_SIGNATURE = "bad_signature"
    STALE_CALLBACK = "stale_callback"
    REPEATED_NONCE = "repeated_nonce"
    CHANGED_CALLBACK = "changed_callback"
    UNEXPLAINED_CALLBACK = "unexplained_callback"
    CALLBACK_COPY = "callback_copy"
    ATTEMPT_ORDER = "attempt_order"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    CALLBACK_AFTER_SUCCESS = "callback_after_success"
    LOST_REPROCESS = "lost_reprocess"
    TWO_REPAIRS = "two_repairs"
    NOT_SETTLED = "not_settled"
    UNEQUAL_ANSWERS = "unequal_answers"
    WRONG_STATUS = "wrong_status"
    UNEARNED_CREDIT = "unearned_credit"
    OTHER_TENANT_HARMED = "other_tenant_harmed"


MEANINGS: dict[Rule, str] = {
    Rule.LOST_RECEIPT: "Every acknowledged receipt is an event in the end.",
    Rule.UNSTABLE_RECEIPT: (
        "The same receipt is always answered with the same event and the same timeout."
    ),
    Rule.UNEXPLAINED_EVENT: "Every event is a receipt that was sent.",
    Rule.DOUBLED_RECEIPT: "No two events have one identity.",
    Rule.LOST_RESULT: "Every acknowledged result is on its event's timeline.",
    Rule.INEFFECTIVE_RESULT: "What an acknowledged result decides is the state.",
    Rule.UNEXPLAINED_RESULT: (
        "No result is stored, and no receipt ends, that nobody reported; none is stored twice."
    ),
    Rule.MISSING_INCIDENT: "Every failed or overdue receipt has its incident.",
    Rule.FALSE_INCIDENT: "No receipt that succeeded in time has an incident.",
    Rule.DUPLICATE_INCIDENT: "An event has one incident at most.",
    Rule.EARLY_INCIDENT: "No incident opens, and no mail says so, before the deadline.",
    Rule.LATE_INCIDENT: "Incidents open in time: without faults, and after the last heal.",
    Rule.LATE_MAIL: (
        "Mails about new incidents come in time: without faults, and after the last heal."
    ),
    Rule.MISSING_MAIL: (
        "Every opened and every resolved incident, and every failed repair, has its mail."
    ),
    Rule.FALSE_MAIL: "No mail is false.",
    Rule.MAIL_COPY: "A mail comes twice only across a fault between sending and recording.",
    Rule.MAIL_IDENTITY: "One notice has one Message-ID, and one Message-ID has one notice.",
    Rule.BAD_SIGNATURE: "Every callback is signed, both ways.",
    Rule.STALE_CALLBACK: "Every callback's timestamp is within five minutes.",
    Rule.REPEATED_NONCE: "No nonce comes twice.",
    Rule.CHANGED_CALLBACK: "Every callback of a repair has the same bytes.",
    Rule.UNEXPLAINED_CALLBACK: "Every repair was asked for, and called about its own event.",
    Rule.CALLBACK_COPY: "An attempt comes twice only across a fault between sending and recording.",
    Rule.ATTEMPT_ORDER: "A repair has one series, its numbers rising, that ends with it.",
    Rule.TOO_MANY_ATTEMPTS: "A repair has no more attempts than the schedule.",
    Rule.CALLBACK_AFTER_SUCCESS: "No attempt begins after a success is acknowledged.",
    Rule.LOST_REPROCESS: "Every acknowledged reprocess is a repair in the end.",
    Rule.TWO_REPAIRS: (
        "An incident has one active repair at a time, and each reprocess answers with it."
    ),
    Rule.NOT_SETTLED: "In the end nothing is left to do.",
    Rule.UNEQUAL_ANSWERS: "A repeated request gets the same answer.",
    Rule.WRONG_STATUS: "No request is refused without a reason.",
    Rule.UNEARNED_CREDIT: "No deadline is credited an outage while ingest was answering.",
    Rule.OTHER_TENANT_HARMED: "Odd receipts have their incidents too, and searches are answered.",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How late, how often and how near is allowed.

    An instant is disturbed when a fault overlaps the time from `settling_seconds` before it to
    `eve_seconds` after it. A copy is allowed when a fault overlaps the time from `copy_eve_seconds`
    before the first (a mail's only) to when that would long have been recorded. `clock_seconds` is
    the difference
    between an instant in milliseconds,
    cut off, and the harness's own.
    """

    within_seconds: float = 10.0
    heals_within_seconds: float = 60.0
    settles_within_seconds: float = 60.0
    settling_seconds: float = 15.0
    eve_seconds: float = 2.0
    fewest_for_p99: int = 5
    copy_eve_seconds: float = 5.0
    mail_recorded_within_seconds: float = 20.0
    callback_recorded_within_seconds: float = 40.0
    timestamp_seconds: float = 300.0
    callback_attempts: int = 5
    callback_grace_seconds: float = 2.0
    clock_seconds: float = 0.005
    outage_seconds: float = 50.0
    mail_copying_faults: tuple[str, ...] = (*_BETWEEN, "mail_hangs:*")
    callback_copying_faults: tuple[str, ...] = _BETWEEN


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that did not hold: for what, with every id that finds its entries, and when."""

    rule: Rule
    what: str
    ids: tuple[str, ...]
    at: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Lateness:
    """How much later than due, in seconds; `count` of 0 goes with zeros."""

    name: str
    count: int
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the promise held, and the figures beside it.

    `counts` are named as they are printed; `faults` counts by kind.
    """

    violations: tuple[Violation, ...]
    counts: dict[str, int]
    faults: dict[str, int]
    lateness: tuple[Lateness, ...]

    @property
    def held(self) -> bool:
        return not self.violations

    def violated(self, rule: Rule) -> tuple[Violation, ...]:
        return tuple(violation for violation in self.violations if violation.rule is rule)


def rank(values: list[float], fraction: float) -> float:
    """The value that this fraction does not exceed (nearest rank); 0 of none."""
    return sorted(values)[ceil(fraction * len(values)) - 1] if values else 0.0


def lateness_of(name: str, seconds: list[float]) -> Lateness:
    return Lateness(
        name, len(seconds), rank(seconds, 0.5), rank(seconds, 0.99), max(seconds, default=0.0)
    )
