"""Rules about incidents: exactly those that had to open, none twice, none early, and each in time
with its mail.

What had to open follows from what was sent and acknowledged around the deadline; where the order of
two of them cannot be known from outside, either is allowed. Called by `checker`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.rules.reading import instant
from tests.faults.rules.record import Event, Mail, Record
from tests.faults.rules.verdict import Bounds, Lateness, Rule, Violation, lateness_of, rank


class Expectation(StrEnum):
    """What was to become of an event, as far as that can be known from outside."""

    INCIDENT = "incident"
    NONE = "none"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Due:
    """Something that was due at an instant and came; `healed_at` is None when no fault was near."""

    ids: tuple[str, ...]
    due_at: float
    came_at: float
    healed_at: float | None

    @property
    def late_seconds(self) -> float:
        """After the heal, where a fault was near."""
        return max(0.0, self.came_at - max(self.due_at, self.healed_at or 0.0))


def expectation(record: Record, event: Event, bounds: Bounds) -> Expectation:
    """Whether the event had to have an incident by the time it was observed.

    A success that comes after the deadline, but while the incident may still be opening, finds the
    receipt waiting and ends it: either is right then.
    """
    # One that names a repair presupposes the incident.
    successes, failures = (
        [one for one in event.said(status) if not one.body.get("replay_id")]
        for status in ("success", "failed")
    )
    success_from = min(
        (one.may_hold_from for one in successes if one.may_hold_from is not None),
        default=float("inf"),
    )
    success_by = min(
        (one.acknowledged_at for one in successes if one.acknowledged_at is not None),
        default=float("inf"),
    )
    failed_from = min(
        (one.may_hold_from for one in failures if one.may_hold_from is not None),
        default=float("inf"),
    )
    failed_by = min(
        (one.acknowledged_at for one in failures if one.acknowledged_at is not None),
        default=float("inf"),
    )
    if failed_by < success_from and failed_by < event.observed_at:
        return Expectation.INCIDENT
    if success_from > min(opens_by(record, event, bounds), event.observed_at) and _is_overdue(
        event, bounds
    ):
        return Expectation.INCIDENT
    if success_by < event.deadline_at - bounds.clock_seconds and failed_from > success_by:
        return Expectation.NONE
    return Expectation.EITHER


def opens_by(record: Record, event: Event, bounds: Bounds) -> float:
    """When the incident of a deadline that was missed has opened at the latest."""
    due = _due(record, bounds, (event.id,), event.deadline_at, event.deadline_at)
    if due.healed_at is None:
        return event.deadline_at + bounds.within_seconds
    return max(event.deadline_at, due.healed_at) + bounds.heals_within_seconds


def overtaken(record: Record) -> int:
    """How many receipts missed their deadline, and succeeded before their incident had opened."""
    return sum(
        event.incident is None
        and all(
            one.may_hold_from > event.deadline_at
            for one in event.said("success")
            if one.may_hold_from
        )
        for event in record.events.values()
        if event.state == "applied"
    )


def incidents_are_right(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """The incidents are those that had to open: none is missing, none is there without a reason."""
    for event in record.events.values():
        expected = expectation(record, event, bounds)
        if event.incident is None:
            if expected is Expectation.INCIDENT:
                what = f"{event.id} failed or had no success by its deadline, and has no incident"
                yield Violation(Rule.MISSING_INCIDENT, what, (event.id,), (event.deadline_at,))
            elif event.state in {"waiting", "incident"} and _is_overdue(event, bounds):
                what = f"{event.id} is {event.state} after its deadline, and has no incident"
                yield Violation(Rule.MISSING_INCIDENT, what, (event.id,), (event.deadline_at,))
            continue
        ids, at = (event.id, event.incident.id), (event.incident.opened_at,)
        if expected is Expectation.NONE:
            yield Violation(
                Rule.FALSE_INCIDENT,
                f"{event.id} succeeded before its deadline, and has an incident",
                ids,
                at,
            )
        elif event.incident.reason == "failed_result" and not event.said("failed"):
            yield Violation(
                Rule.FALSE_INCIDENT,
                f"{event.id} has an incident for a failure that nobody reported",
                ids,
                at,
            )


def incidents_are_single(record: Record) -> Iterator[Violation]:
    """Wherever an incident of an event is named, it is the same one, and the timeline opens it
    once.
    """
    named: defaultdict[str, set[str]] = defaultdict(set)
    for mail in record.mails:
        if mail.event_id and mail.incident_id:
            named[mail.event_id].add(mail.incident_id)
    for callback in record.callbacks:
        named[str(callback.said.get("event_id"))].add(str(callback.said.get("incident_id")))
    for request in record.reprocesses:
        if request.is_acknowledged:
            named[request.body["event_id"]].add(request.answer["incident_id"])
    for event in record.events.values():
        opened = event.timeline("incident_opened")
        incidents = named[event.id] | {entry["incident_id"] for entry in opened}
        incidents |= {event.incident.id} if event.incident else set()
        if len(incidents) > 1:
            what = f"{event.id} has {len(incidents)} incidents"
            yield Violation(Rule.DUPLICATE_INCIDENT, what, (event.id, *sorted(incidents)))
        elif len(opened) > 1:
            at = tuple(instant(entry["at"]) for entry in opened)
            yield Violation(
                Rule.DUPLICATE_INCIDENT,
                f"{event.id} was opened {len(opened)} times",
                (event.id, *incidents),
                at,
            )


def incidents_are_never_early(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """A deadline is never before the timeout; no incident opens, and no mail says so, before the
    deadline.
    """
    first = _first_mails(record)
    for event in record.events.values():
        if event.deadline_at < event.timeout_at - bounds.clock_seconds:
            what = f"{event.id} has its deadline before its timeout"
            yield Violation(
                Rule.EARLY_INCIDENT, what, (event.id,), (event.deadline_at, event.timeout_at)
            )
        incident = event.incident
        if incident is None or incident.reason != "missing_result":
            continue
        ids, due_at = (event.id, incident.id), max(event.deadline_at, event.timeout_at)
        if incident.opened_at < due_at - bounds.clock_seconds:
            what = f"{incident.id} opened {due_at - incident.opened_at:.3f} s before its deadline"
            yield Violation(Rule.EARLY_INCIDENT, what, ids, (incident.opened_at, due_at))
        mail = first.get(incident.id)
        if mail is not None and mail.at < event.timeout_at - bounds.clock_seconds:
            early_seconds = event.timeout_at - mail.at
            what = f"a mail reported {incident.id} {early_seconds:.3f} s before its timeout"
            yield Violation(
                Rule.EARLY_INCIDENT, what, (*ids, mail.message_id), (mail.at, event.timeout_at)
            )


def incidents_come_in_time(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """Without faults almost all open within the bound; and each, at the latest, within another one
    of the last heal.
    """
    yield from _in_time(opened(record, bounds), bounds, Rule.LATE_INCIDENT)


def mails_come_in_time(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """The same for the first copy of the mail about an incident."""
    yield from _in_time(mailed(record, bounds), bounds, Rule.LATE_MAIL)


def lateness(record: Record, bounds: Bounds) -> tuple[Lateness, ...]:
    """The spread of both: without faults; and near one, after the last heal and as a whole."""
    figures = []
    for name, dues in (("incident", opened(record, bounds)), ("mail", mailed(record, bounds))):
        calm = [due.late_seconds for due in dues if due.healed_at is None]
        healed = [due.late_seconds for due in dues if due.healed_at is not None]
        whole = [max(0.0, due.came_at - due.due_at) for due in dues if due.healed_at is not None]
        figures += [
            lateness_of(f"{name}, without faults", calm),
            lateness_of(f"{name}, after the last heal", healed),
            lateness_of(f"{name}, near a fault, since it was due", whole),
        ]
    return tuple(figures)


def opened(record: Record, bounds: Bounds) -> list[Due]:
    """Each incident whose due time is known, with when it opened."""
    return [
        _due(record, bounds, (event.id, event.incident.id), due_at, event.incident.opened_at)
        for event in record.events.values()
        if event.incident and (due_at := _due_at(event)) is not None
    ]


def mailed(record: Record, bounds: Bounds) -> list[Due]:
    """Each incident whose due time is known and that has a mail, with when the first one came."""
    first = _first_mails(record)
    return [
        _due(record, bounds, (event.id, event.incident.id), due_at, first[event.incident.id].at)
        for event in record.events.values()
        if event.incident and event.incident.id in first and (due_at := _due_at(event)) is not None
    ]


def _in_time(dues: list[Due], bounds: Bounds, rule: Rule) -> Iterator[Violation]:
    calm = sorted((due for due in dues if due.healed_at is None), key=lambda due: due.late_seconds)
    p99 = rank([due.late_seconds for due in calm], 0.99)
    if len(calm) >= bounds.fewest_for_p99 and p99 > bounds.within_seconds:
        late = [due for due in calm if due.late_seconds > bounds.within_seconds]
        what = (
            f"without faults, p99 is {p99:.1f} s over {len(calm)}, and {len(late)} came later than"
            f" {bounds.within_seconds:g} s"
        )
        yield Violation(
            rule,
            what,
            tuple(name for due in late for name in due.ids),
            tuple(due.came_at for due in late),
        )
    for due in dues:
        if due.late_seconds > bounds.heals_within_seconds:
            after = "it was due, without a fault" if due.healed_at is None else "the last heal"
            what = f"{due.ids[-1]} came {due.late_seconds:.1f} s after {after}"
            yield Violation(rule, what, due.ids, (due.due_at, due.came_at))


def _due(
    record: Record, bounds: Bounds, ids: tuple[str, ...], due_at: float, came_at: float
) -> Due:
    start, end = due_at - bounds.settling_seconds, due_at + bounds.eve_seconds
    if not record.is_disturbed(start, end):
        return Due(ids, due_at, came_at, None)
    return Due(
        ids,
        due_at,
        came_at,
        record.healed_at(start, end, apart_seconds=bounds.heals_within_seconds),
    )


def _is_overdue(event: Event, bounds: Bounds) -> bool:
    """Whether its deadline was well past when it was observed."""
    return event.deadline_at + bounds.within_seconds < event.observed_at


def _due_at(event: Event) -> float | None:
    """The deadline, or when the first failure was acknowledged; None when that is not known."""
    if event.incident and event.incident.reason == "failed_result":
        return min(
            (
                one.acknowledged_at
                for one in event.said("failed")
                if one.acknowledged_at is not None
            ),
            default=None,
        )
    return event.deadline_at


def _first_mails(record: Record) -> dict[str, Mail]:
    """The first mail about each incident."""
    first: dict[str, Mail] = {}
    for mail in record.mails:
        if mail.kind == "incident_opened" and mail.incident_id:
            first.setdefault(mail.incident_id, mail)
    return first
