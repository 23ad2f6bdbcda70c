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
    Said,
)

_KINDS = {
    "Incident open": "incident_opened",
    "Repair failed": "repair_failed",
    "Incident resolved": "incident_resolved",
}
_SUBJECT = re.compile(r"(?:\[test\] )?(" + "|".join(_KINDS) + "):")


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
        _said(requests, "receipt", by_provider_event),
        _said(requests, "result", by_provider_event),
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
        said = (
            sent["request"],
            sent["endpoint"],
            sent["key"],
            sent["body"],
            sent["order"],
            sent.at,
        )
        answer = answers.get(sent["request"])
        made.append(
            Request(*said, answer.at, answer["status"], answer["body"] or {})
            if answer
            else Request(*said)
        )
    return tuple(made)


def _said(
    requests: Iterable[Request], endpoint: str, by_provider_event: dict[str, list[Event]]
) -> tuple[Said, ...]:
    grouped: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in requests:
        if request.endpoint == endpoint:
            grouped[request.key or request.id, json.dumps(request.body, sort_keys=True)].append(
                request
            )
    return tuple(
        _as_said(endpoint, key, group, by_provider_event) for (key, _), group in grouped.items()
    )


def _as_said(
    endpoint: str, key: str, group: list[Request], by_provider_event: dict[str, list[Event]]
) -> Said:
    may_hold_from = min((one.sent_at for one in group if one.may_hold), default=None)
    acknowledged = [
        one.answered_at for one in group if one.is_acknowledged and one.answered_at is not None
    ]
    said = Said(
        endpoint, key, group[0].body, tuple(group), may_hold_from, min(acknowledged, default=None)
    )
    return (
        said if endpoint == "receipt" else replace(said, event_id=_named(said, by_provider_event))
    )


def _event(entry: Entry) -> Event:
    shown = entry["event"]
    said = shown["incident"]
    incident = said and Incident(
        said["id"],
        said["state"],
        said["reason"],
        instant(said["opened_at"]),
        instant(said["resolved_at"]) if said["resolved_at"] else None,
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


def _named(said: Said, by_provider_event: dict[str, list[Event]]) -> str | None:
    """The id of the event that a result is about.

    1. Its `event_id`.
    2. The only event with its provider's id and effect type.
    3. The `event_id` of its answer.
    """
    if said.body.get("event_id"):
        return str(said.body["event_id"])
    effect = said.body.get("effect_type")
    named = by_provider_event.get(
        said.body.get("provider_event_id") or said.body.get("stripe_event_id") or "", []
    )
    left = [event.id for event in named if effect in (None, event.identity[2])]
    return (
        left[0]
        if len(left) == 1
        else next((one.answer.get("event_id") for one in said.answers), None)
    )


def _attach(
    events: dict[str, Event],
    by_provider_event: dict[str, list[Event]],
    receipts: Iterable[Said],
    results: Iterable[Said],
    reprocesses: Iterable[Request],
) -> None:
    for said in receipts:
        identity = identity_of(said.body)
        for event in by_provider_event.get(identity[1], []):
            if event.identity == identity:
                event.receipts.append(said)
    for said in results:
        if said.event_id in events:
            events[said.event_id].results.append(said)
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
    titled = _SUBJECT.match(subject)
    to = entry["to"]
    return Mail(
        at=entry.at,
        message_id=entry["message_id"] or "",
        to=to if isinstance(to, str) else json.dumps(to),
        subject=subject,
        kind=_KINDS[titled[1]] if titled else None,
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
        said = json.loads(entry["body"])
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    number = entry["headers"].get("x-sendpromptly-attempt", "")
    replay_id = str(said.get("replay_id", ""))
    return Callback(
        entry.at,
        entry["headers"],
        entry["body"],
        said,
        replay_id,
        int(number) if number.isdigit() else 0,
    )
