"""Makes the `Record` of a history: pairs requests with answers, and events with requests.

Decides nothing: the rules do. `checker` and `report` call `read`.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from tests.faults.installation.history import Entry, History
from tests.faults.rules.record import (
    Callback,
    Event,
    Fault,
    Identity,
    Incident,
    Json,
    Mail,
    Record,
    Request,
    Submission,
)

_KINDS = {
    "Incident open": "incident_opened",
    "Repair failed": "repair_failed",
    "Incident resolved": "incident_resolved",
}
# The first line of a mail in example runs. The product's mails name the kind in their Message-ID:
# those of one incident have one subject, and their titles say the harm.
_TITLE = re.compile(r"(" + "|".join(_KINDS) + r")\r?\n")
_MESSAGE_ID = re.compile(r"<inc_\w+\.(" + "|".join(_KINDS.values()) + r")\.")


def instant(text: str) -> float:
    """The unix seconds of an instant in ISO 8601."""
    return datetime.fromisoformat(text).timestamp()


def identity_of(body: Json) -> Identity:
    """The identity of a receipt's body, or of an event, within its project."""
    return (
        body["provider"],
        body.get("provider_event_id") or body.get("stripe_event_id") or "",
        body["effect_type"],
    )


def read(history: History) -> Record:
    """The record of a history."""
    events = {event.id: event for event in map(_event, history.of("observed"))}
    by_provider_event: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events.values():
        by_provider_event[event.identity[1]].append(event)
    requests = _requests(history)
    receipts, results = (
        _submissions(requests, "receipt", by_provider_event),
        _submissions(requests, "result", by_provider_event),
    )
    reprocesses = tuple(request for request in requests if request.endpoint == "reprocess")
    _attach(events, by_provider_event, receipts, results, reprocesses)
    for entry in history.of("signalled"):
        if entry["event"] in events:
            events[entry["event"]].signals.append(entry.at)
    return Record(
        requests=requests,
        receipts=receipts,
        results=results,
        reprocesses=reprocesses,
        events=events,
        by_incident={event.incident.id: event for event in events.values() if event.incident},
        faults=_faults(history),
        mails=tuple(map(_mail, history.of("mail"))),
        callbacks=tuple(sorted(map(_callback, history.of("callback")), key=lambda one: one.at)),
        settled=tuple(history.of("settled")),
    )


def _requests(history: History) -> tuple[Request, ...]:
    answers = {entry["request"]: entry for entry in history.of("answered")}
    made = []
    for sent in history.of("sent"):
        fields = (
            sent["request"],
            sent["endpoint"],
            sent["key"],
            sent["body"],
            sent["order"],
            sent.at,
        )
        answer = answers.get(sent["request"])
        made.append(
            Request(*fields, answer.at, answer["status"], answer["body"] or {})
            if answer
            else Request(*fields)
        )
    return tuple(made)


def _submissions(
    requests: Iterable[Request], endpoint: str, by_provider_event: dict[str, list[Event]]
) -> tuple[Submission, ...]:
    grouped: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in requests:
        if request.endpoint == endpoint:
            grouped[request.key or request.id, json.dumps(request.body, sort_keys=True)].append(
                request
            )
    return tuple(
        _submission(endpoint, key, group, by_provider_event) for (key, _), group in grouped.items()
    )


def _submission(
    endpoint: str, key: str, group: list[Request], by_provider_event: dict[str, list[Event]]
) -> Submission:
    may_hold_from = min((one.sent_at for one in group if one.may_hold), default=None)
    acknowledged = [
        one.answered_at for one in group if one.is_acknowledged and one.answered_at is not None
    ]
    submission = Submission(
        endpoint, key, group[0].body, tuple(group), may_hold_from, min(acknowledged, default=None)
    )
    return (
        submission
        if endpoint == "receipt"
        else replace(submission, event_id=_named(submission, by_provider_event))
    )


def _event(entry: Entry) -> Event:
    shown = entry["event"]
    found = shown["incident"]
    incident = found and Incident(
        found["id"],
        found["state"],
        found["reason"],
        instant(found["opened_at"]),
        instant(found["resolved_at"]) if found["resolved_at"] else None,
    )
    timeout_at, deadline_at = instant(shown["timeout_at"]), instant(shown["deadline_at"])
    return Event(
        shown["event_id"],
        entry.at,
        shown,
        identity_of(shown),
        shown["state"],
        timeout_at,
        deadline_at,
        incident or None,
    )


def _named(submission: Submission, by_provider_event: dict[str, list[Event]]) -> str | None:
    """The id of the event that a result is about.

    1. Its `event_id`.
    2. The only event with its provider's id and effect type.
    3. The `event_id` of its answer.
    """
    if submission.body.get("event_id"):
        return str(submission.body["event_id"])
    effect = submission.body.get("effect_type")
    named = by_provider_event.get(
        submission.body.get("provider_event_id") or submission.body.get("stripe_event_id") or "", []
    )
    left = [event.id for event in named if effect in (None, event.identity[2])]
    return (
        left[0]
        if len(left) == 1
        else next((one.answer.get("event_id") for one in submission.answers), None)
    )


def _attach(
    events: dict[str, Event],
    by_provider_event: dict[str, list[Event]],
    receipts: Iterable[Submission],
    results: Iterable[Submission],
    reprocesses: Iterable[Request],
) -> None:
    for submission in receipts:
        identity = identity_of(submission.body)
        for event in by_provider_event.get(identity[1], []):
            if event.identity == identity:
                event.receipts.append(submission)
    for submission in results:
        if submission.event_id in events:
            events[submission.event_id].results.append(submission)
    for request in reprocesses:
        if request.body["event_id"] in events:
            events[request.body["event_id"]].reprocesses.append(request)


def _faults(history: History) -> tuple[Fault, ...]:
    last = history.entries[-1].at if history.entries else 0.0
    ended = {entry["fault"]: entry.at for entry in history.of("fault_ended")}
    began = sorted(history.of("fault_began"), key=lambda entry: entry.at)
    return tuple(
        Fault(one["fault"], one["kind"], one["target"], one.at, ended.get(one["fault"], last))
        for one in began
    )


def _mail(entry: Entry) -> Mail:
    text, subject = entry["text"] or "", entry["subject"] or ""
    message_id = entry["message_id"] or ""
    named, titled = _MESSAGE_ID.match(message_id), _TITLE.match(text)
    to = entry["to"]
    return Mail(
        at=entry.at,
        message_id=message_id,
        to=to if isinstance(to, str) else json.dumps(to),
        subject=subject,
        kind=named[1] if named else _KINDS[titled[1]] if titled else None,
        incident_id=_found(r"^Incident ID\s+(inc_\S+)$", text),
        event_id=_found(r"/events/(evt_\w+)", text),
        replay_id=_found(r"^Repair ID\s+(rpl_\S+)$", text),
    )


def _found(pattern: str, text: str) -> str | None:
    """The last match: the app's own texts come before ours."""
    found = re.findall(pattern, text.replace("\r\n", "\n"), re.MULTILINE)
    return found[-1] if found else None


def _callback(entry: Entry) -> Callback:
    try:
        content = json.loads(entry["body"])
    except ValueError:
        content = {}
    content = content if isinstance(content, dict) else {}
    number = entry["headers"].get("x-sendpromptly-attempt", "")
    replay_id = str(content.get("replay_id", ""))
    return Callback(
        entry.at,
        entry["headers"],
        entry["body"],
        content,
        replay_id,
        int(number) if number.isdigit() else 0,
    )
