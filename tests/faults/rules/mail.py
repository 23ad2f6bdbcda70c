"""Rules about mail: nothing is missing, nothing is false, and nothing comes twice unless a fault
came between sending and recording.

The notice of a mail is read from its text. The rules check that copies of one notice have the same
`Message-ID`. Called by `checker`.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.faults.rules.record import Event, Json, Mail, Record
from tests.faults.rules.verdict import Bounds, Rule, Violation

# A repair that another success or a person ended: the mail of the incident reports that.
CAUSES_WITHOUT_MAIL = {"superseded", "closed"}

# Kind, incident id and `replay_id`.
Notice = tuple[str, str | None, str | None]


def mails_are_all_there(record: Record) -> Iterator[Violation]:
    """Each opened and each resolved incident, and each failed repair, has its mail."""
    notices = {_notice(mail) for mail in record.mails}
    for event in record.events.values():
        for kind, replay_id in _expected(event):
            assert event.incident is not None
            if (kind, event.incident.id, replay_id) not in notices:
                ids = tuple(name for name in (event.id, event.incident.id, replay_id) if name)
                yield Violation(
                    Rule.MISSING_MAIL, f"no mail reports {kind} of {event.incident.id}", ids
                )


def mails_are_true(record: Record) -> Iterator[Violation]:
    """Each mail is about a known incident of its event, the end of it, or a failed repair of it."""
    for mail in record.mails:
        event = record.by_incident.get(mail.incident_id or "")
        what = f"a mail with subject {mail.subject!r} names no known incident"
        if event is not None and mail.kind is not None and mail.event_id == event.id:
            if mail.kind == "incident_opened" or (mail.kind, mail.replay_id) in _true(event):
                continue
            what = f"a mail reports {mail.kind} of {mail.incident_id}, which is false"
        ids = tuple(
            name
            for name in (mail.event_id, mail.incident_id, mail.replay_id, mail.message_id)
            if name
        )
        yield Violation(Rule.FALSE_MAIL, what, ids, (mail.at,))


def mails_are_single(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """A `Message-ID` comes once, except across a fault that can strike between sending and
    recording.
    """
    for copies in _by_message_id(record).values():
        for before, copy in pairwise(copies):
            start, end = (
                before.at - bounds.copy_eve_seconds,
                before.at + bounds.mail_recorded_within_seconds,
            )
            if not record.is_disturbed(start, min(end, copy.at), bounds.mail_copying_faults):
                what = (
                    f"{copy.message_id} came again after {copy.at - before.at:.1f} s, without a"
                    " fault between"
                )
                yield Violation(
                    Rule.MAIL_COPY,
                    what,
                    (copy.message_id, copy.incident_id or ""),
                    (before.at, copy.at),
                )


def mails_have_one_identity(record: Record) -> Iterator[Violation]:
    """A notice to one address has one `Message-ID`, and a `Message-ID` has one notice."""
    by_notice: defaultdict[tuple[Notice, str], dict[str, Mail]] = defaultdict(dict)
    for mail in record.mails:
        by_notice[_notice(mail), mail.to].setdefault(mail.message_id, mail)
    for ((kind, incident_id, _), _), mails in by_notice.items():
        if len(mails) > 1:
            what = f"{kind} of {incident_id} was reported under {len(mails)} Message-IDs"
            yield Violation(
                Rule.MAIL_IDENTITY,
                what,
                (incident_id or "", *mails),
                tuple(one.at for one in mails.values()),
            )
    for message_id, copies in _by_message_id(record).items():
        if not message_id or len({(_notice(mail), mail.to) for mail in copies}) > 1:
            what = f"{message_id or 'no Message-ID'} has different notices"
            yield Violation(
                Rule.MAIL_IDENTITY, what, (message_id,), tuple(mail.at for mail in copies)
            )


def extra_mails(record: Record) -> int:
    """How many mails are copies of another."""
    return len(record.mails) - len({mail.message_id for mail in record.mails})


def _expected(event: Event) -> set[tuple[str, str | None]]:
    """The notices that the event must have: kind and `replay_id`."""
    if event.incident is None:
        return set()
    return {("incident_opened", None)} | {
        (kind, replay_id)
        for kind, replay_id in _true(event)
        if kind == "incident_resolved"
        or _repair(event, replay_id)["cause"] not in CAUSES_WITHOUT_MAIL
    }


def _true(event: Event) -> set[tuple[str, str | None]]:
    """The notices that the event may have beside its opening."""
    resolved = (
        {("incident_resolved", None)}
        if event.incident and event.incident.state == "resolved"
        else set()
    )
    return resolved | {
        ("repair_failed", repair["replay_id"])
        for repair in event.repairs
        if repair["state"] == "failed"
    }


def _repair(event: Event, replay_id: str | None) -> Json:
    return next(repair for repair in event.repairs if repair["replay_id"] == replay_id)


def _notice(mail: Mail) -> Notice:
    """Only a failed repair's mail is about a repair."""
    return (mail.kind or mail.subject, mail.incident_id, mail.replay_id)


def _by_message_id(record: Record) -> dict[str, list[Mail]]:
    copies: defaultdict[str, list[Mail]] = defaultdict(list)
    for mail in record.mails:
        copies[mail.message_id].append(mail)
    return copies
