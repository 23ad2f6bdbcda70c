"""Rules about incidents: exactly those that had to open did open, once, not early and in time.

Input is the `Record` of a run: requests with their answers, events as observed at the end, faults,
mails and callbacks. `checker` calls each rule, a function that yields violations:

1. `incidents_are_right`: none is missing, none is false. `expectation` decides from the requests
   whether an event had to have an incident. Two requests may have been stored in either order; then
   an incident is right, and none is right too.
2. `incidents_are_single`: an event has one incident, opened once.
3. `incidents_are_never_early`: nothing opens or is mailed before the deadline.
4. `incidents_come_in_time` and `mails_come_in_time`: each came soon after it was due, or after the
   last fault near that instant was healed. `lateness` has the same figures for the report.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from tests.faults.rules.reading import instant
from tests.faults.rules.record import Event, Mail, Record
from tests.faults.rules.verdict import Bounds, Lateness, Rule, Violation, lateness_of, rank


class Expectation(StrEnum):
    """Whether an event had to have an incident, as far as the requests show it."""

    INCIDENT = "incident"
    NONE = "none"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An incident that opened or a mail that came, with the instant at which it was due.

    `healed_at` is when the last fault near `due_at` was healed, None if no fault was near.
    """

    ids: tuple[str, ...]
    due_at: float
    came_at: float
    healed_at: float | None

    @property
    def late_seconds(self) -> float:
        """The seconds after it was due, or after the heal if that was later."""
        return max(0.0, self.came_at - max(self.due_at, self.healed_at or 0.0))


def expectation(record: Record, event: Event, bounds: Bounds) -> Expectation:
    """Whether the event had to have an incident by the time it was observed.

    1. A failure was stored first: an incident.
    2. No success can have been stored before the incident opened: an incident.
    3. A success was stored before the deadline, and before any failure: none.
    4. Otherwise either is right. For example, a success after the deadline can arrive while the
       incident is about to open: it finds the receipt waiting, and ends it.
    """
    success_from, success_by = _stored_from_and_by(event, "success")
    failed_from, failed_by = _stored_from_and_by(event, "failed")
    if failed_by < success_from and failed_by < event.observed_at:
        return Expectation.INCIDENT
    latest_opening_at = latest_opening(record, event, bounds)
    if success_from > min(latest_opening_at, event.observed_at) and _is_overdue(event, bounds):
        return Expectation.INCIDENT
    if success_by < event.deadline_at - bounds.clock_seconds and failed_from > success_by:
        return Expectation.NONE
    return Expectation.EITHER


def latest_opening(record: Record, event: Event, bounds: Bounds) -> float:
    """The instant by which the incident of a missed deadline must have opened."""
    healed_at = _healed_near(record, bounds, event.deadline_at)
    if healed_at is None:
        return event.deadline_at + bounds.within_seconds
    return max(event.deadline_at, healed_at) + bounds.heals_within_seconds


def count_late_successes(record: Record) -> int:
    """How many receipts missed their deadline, but succeeded before their incident opened."""
    return sum(
        event.incident is None
        and all(
            one.may_hold_from > event.deadline_at
            for one in event.results_with("success")
            if one.may_hold_from
        )
        for event in record.events.values()
        if event.state == "applied"
    )


def incidents_are_right(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """Each event that had to have an incident has one, and no other event has one."""
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
        elif event.incident.reason == "failed_result" and not event.results_with("failed"):
            yield Violation(
                Rule.FALSE_INCIDENT,
                f"{event.id} has an incident for a failure that nobody reported",
                ids,
                at,
            )


def incidents_are_single(record: Record) -> Iterator[Violation]:
    """Event, timeline, mails, callbacks and answers all name the same incident of an event.

    Its timeline opens the incident once.
    """
    named: defaultdict[str, set[str]] = defaultdict(set)
    for mail in record.mails:
        if mail.event_id and mail.incident_id:
            named[mail.event_id].add(mail.incident_id)
    for callback in record.callbacks:
        named[str(callback.content.get("event_id"))].add(str(callback.content.get("incident_id")))
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
    """No deadline is before its timeout; no incident opens, and no mail reports one, before the
    deadline.
    """
    first = _first_mail_by_incident(record)
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
    """Incidents open within the bounds that are listed in `_violations_of_lateness`."""
    yield from _violations_of_lateness(openings(record, bounds), bounds, Rule.LATE_INCIDENT)


def mails_come_in_time(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """The first mail about each incident comes within the same bounds."""
    yield from _violations_of_lateness(first_mails(record, bounds), bounds, Rule.LATE_MAIL)


def lateness(record: Record, bounds: Bounds) -> tuple[Lateness, ...]:
    """How late incidents and mails were: without faults; near one, after the heal and in all."""
    figures = []
    for name, came in (
        ("incident", openings(record, bounds)),
        ("mail", first_mails(record, bounds)),
    ):
        undisturbed = [one.late_seconds for one in came if one.healed_at is None]
        disturbed = [one for one in came if one.healed_at is not None]
        after_heal = [one.late_seconds for one in disturbed]
        since_due = [max(0.0, one.came_at - one.due_at) for one in disturbed]
        figures += [
            lateness_of(f"{name}, without faults", undisturbed),
            lateness_of(f"{name}, after the last heal", after_heal),
            lateness_of(f"{name}, near a fault, since it was due", since_due),
        ]
    return tuple(figures)


def openings(record: Record, bounds: Bounds) -> list[Occurrence]:
    """The opening of each incident whose due time is known."""
    return [
        Occurrence(
            (event.id, event.incident.id),
            due_at,
            event.incident.opened_at,
            _healed_near(record, bounds, due_at),
        )
        for event in record.events.values()
        if event.incident and (due_at := _due_at(event)) is not None
    ]


def first_mails(record: Record, bounds: Bounds) -> list[Occurrence]:
    """The first mail about each incident whose due time is known."""
    first = _first_mail_by_incident(record)
    return [
        Occurrence(
            (event.id, event.incident.id),
            due_at,
            first[event.incident.id].at,
            _healed_near(record, bounds, due_at),
        )
        for event in record.events.values()
        if event.incident and event.incident.id in first and (due_at := _due_at(event)) is not None
    ]


def _stored_from_and_by(event: Event, status: str) -> tuple[float, float]:
    """Between which instants the first result of this status was stored; infinite without one.

    It may have been stored from the moment of its first request, and was by its acknowledgement.
    Results of repairs are left out: they presuppose the incident.
    """
    first = [one for one in event.results_with(status) if not one.body.get("replay_id")]
    stored_from = [one.may_hold_from for one in first if one.may_hold_from is not None]
    stored_by = [one.acknowledged_at for one in first if one.acknowledged_at is not None]
    return min(stored_from, default=inf), min(stored_by, default=inf)


def _is_overdue(event: Event, bounds: Bounds) -> bool:
    """Whether its deadline had passed long before it was observed."""
    return event.deadline_at + bounds.within_seconds < event.observed_at


def _healed_near(record: Record, bounds: Bounds, due_at: float) -> float | None:
    """When the last fault near this instant was healed; None if no fault was near."""
    start, end = due_at - bounds.settling_seconds, due_at + bounds.eve_seconds
    if not record.is_disturbed(start, end):
        return None
    return record.healed_at(start, end, apart_seconds=bounds.heals_within_seconds)


def _first_mail_by_incident(record: Record) -> dict[str, Mail]:
    """The first mail that reports each incident as open."""
    first: dict[str, Mail] = {}
    for mail in record.mails:
        if mail.kind == "incident_opened" and mail.incident_id:
            first.setdefault(mail.incident_id, mail)
    return first


def _violations_of_lateness(
    came: list[Occurrence], bounds: Bounds, rule: Rule
) -> Iterator[Violation]:
    """Whatever came too late:

    1. Of those without a fault, the p99 is at most `within_seconds`.
    2. Each comes at most `heals_within_seconds` after it was due, or after the last heal.
    """
    undisturbed = [one for one in came if one.healed_at is None]
    undisturbed.sort(key=lambda one: one.late_seconds)
    p99 = rank([one.late_seconds for one in undisturbed], 0.99)
    if len(undisturbed) >= bounds.fewest_for_p99 and p99 > bounds.within_seconds:
        late = [one for one in undisturbed if one.late_seconds > bounds.within_seconds]
        what = (
            f"without faults, p99 is {p99:.1f} s over {len(undisturbed)}, and {len(late)} came"
            f" later than {bounds.within_seconds:g} s"
        )
        yield Violation(
            rule,
            what,
            tuple(name for one in late for name in one.ids),
            tuple(one.came_at for one in late),
        )
    for one in came:
        if one.late_seconds > bounds.heals_within_seconds:
            after = "it was due, without a fault" if one.healed_at is None else "the last heal"
            what = f"{one.ids[-1]} came {one.late_seconds:.1f} s after {after}"
            yield Violation(rule, what, one.ids, (one.due_at, one.came_at))


def _due_at(event: Event) -> float | None:
    """When its incident was due: at the deadline, or when the first failure was acknowledged.

    None if no failure was acknowledged.
    """
    if event.incident and event.incident.reason == "failed_result":
        return min(
            (
                one.acknowledged_at
                for one in event.results_with("failed")
                if one.acknowledged_at is not None
            ),
            default=None,
        )
    return event.deadline_at
