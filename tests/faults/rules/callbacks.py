"""Rules about repairs and their callbacks: signed, explained, in one series each, and none begun
after the success.

The signatures are an oracle of this file's own: HMAC over what the contract says, and the
`standardwebhooks` package. Called by `checker`.
"""

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from standardwebhooks import Webhook

from tests.faults.rules.reading import instant
from tests.faults.rules.record import Callback, Event, Json, Record
from tests.faults.rules.verdict import Bounds, Rule, Violation

NONCE = re.compile(r"[0-9a-f]{32}")


def callbacks_are_signed(
    record: Record, secrets: Sequence[str], bounds: Bounds
) -> Iterator[Violation]:
    """Both signatures verify with one of the secrets, the timestamp is near, the nonce is new."""
    nonces: dict[str, Callback] = {}
    for callback in record.callbacks:
        if not any(_is_signed(callback, secret) for secret in secrets):
            what = (
                f"a callback of {callback.replay_id or 'no repair'} is not signed by this project"
            )
            yield Violation(Rule.BAD_SIGNATURE, what, (callback.replay_id,), (callback.at,))
        timestamp = callback.headers.get("x-sendpromptly-timestamp", "")
        if not timestamp.isdigit() or abs(int(timestamp) - callback.at) > bounds.timestamp_seconds:
            what = f"a callback of {callback.replay_id} has the timestamp {timestamp or 'none'}"
            yield Violation(Rule.STALE_CALLBACK, what, (callback.replay_id,), (callback.at,))
        nonce = callback.headers.get("x-sendpromptly-nonce", "")
        before = nonces.setdefault(nonce, callback)
        if not NONCE.fullmatch(nonce) or before is not callback:
            what = f"the nonce {nonce or '(none)'} is no nonce, or came before"
            yield Violation(
                Rule.REPEATED_NONCE,
                what,
                (callback.replay_id, before.replay_id),
                (before.at, callback.at),
            )


def callbacks_are_explained(record: Record) -> Iterator[Violation]:
    """Each callback is of a repair that is known or was answered, about its own event, with the
    bytes of the first.
    """
    answered = {
        request.answer["replay_id"] for request in record.reprocesses if request.is_acknowledged
    }
    for replay_id, series in _by_repair(record).items():
        first, at = series[0], tuple(callback.at for callback in series)
        if any(callback.body != first.body for callback in series):
            yield Violation(
                Rule.CHANGED_CALLBACK, f"the callbacks of {replay_id} differ", (replay_id,), at
            )
        event = record.events.get(str(first.said.get("event_id")))
        known = {repair["replay_id"] for repair in event.repairs} if event else set()
        if event is None or replay_id not in known | answered:
            yield Violation(
                Rule.UNEXPLAINED_CALLBACK,
                f"nobody asked for {replay_id or 'no repair'}",
                (replay_id,),
                at,
            )
        elif event.incident is None or first.said.get("incident_id") != event.incident.id:
            what = (
                f"{replay_id} was called about {first.said.get('incident_id')}, which is not its"
                " incident"
            )
            yield Violation(Rule.UNEXPLAINED_CALLBACK, what, (replay_id, event.id), at)
    for event in record.events.values():
        if len(event.repairs) > sum(request.may_hold for request in event.reprocesses) + len(
            event.signals
        ):
            what = f"{event.id} has more repairs than were asked for: {len(event.repairs)}"
            yield Violation(Rule.UNEXPLAINED_CALLBACK, what, (event.id,))


def attempts_are_in_order(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """A repair's numbers rise; one comes again, or after a higher one, only across a fault; none is
    beyond the schedule.
    """
    for replay_id, series in _by_repair(record).items():
        latest: dict[int, Callback] = {}
        for callback in series:
            ids, before = (replay_id,), latest.get(callback.number)
            if before is not None and not _is_copy(record, before, callback, bounds):
                what = (
                    f"attempt {callback.number} of {replay_id} came again, without a fault between"
                )
                yield Violation(Rule.CALLBACK_COPY, what, ids, (before.at, callback.at))
            higher = max(
                (one for one in latest.values() if one.number > callback.number),
                key=_number,
                default=None,
            )
            if higher is not None and not _was_held_up(record, callback, higher, bounds):
                what = (
                    f"attempt {callback.number} of {replay_id} came after attempt {higher.number}"
                )
                yield Violation(Rule.ATTEMPT_ORDER, what, ids, (higher.at, callback.at))
            latest[callback.number] = callback
        if len(latest) > bounds.callback_attempts or not all(
            1 <= number <= bounds.callback_attempts for number in latest
        ):
            what = f"{replay_id} was called under the numbers {', '.join(map(str, sorted(latest)))}"
            yield Violation(Rule.TOO_MANY_ATTEMPTS, what, (replay_id,), (series[-1].at,))


def nothing_begins_after_success(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """No attempt is recorded as begun after a success was acknowledged, and no callback arrives
    that was not in flight then.
    """
    calls: defaultdict[str, list[Callback]] = defaultdict(list)
    for callback in record.callbacks:
        calls[str(callback.said.get("event_id"))].append(callback)
    for event in record.events.values():
        success_at = min(
            (one.acknowledged_at for one in event.said("success") if one.acknowledged_at),
            default=float("inf"),
        )
        for repair in event.repairs:
            for attempt in repair["attempts"]:
                if instant(attempt["at"]) > success_at + bounds.clock_seconds:
                    what = (
                        f"attempt {attempt['number']} of {repair['replay_id']} began after a"
                        " success was acknowledged"
                    )
                    at = (success_at, instant(attempt["at"]))
                    yield Violation(
                        Rule.CALLBACK_AFTER_SUCCESS, what, (event.id, repair["replay_id"]), at
                    )
        for callback in calls[event.id]:
            is_late = callback.at > success_at + bounds.callback_grace_seconds
            if is_late and not record.is_disturbed(
                success_at, callback.at, bounds.callback_copying_faults
            ):
                what = (
                    f"{callback.replay_id} was called {callback.at - success_at:.1f} s after a"
                    " success was acknowledged"
                )
                yield Violation(
                    Rule.CALLBACK_AFTER_SUCCESS,
                    what,
                    (event.id, callback.replay_id),
                    (success_at, callback.at),
                )


def series_end_with_their_repair(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """No callback of a repair arrives after the repair has ended, but for one in flight."""
    series = _by_repair(record)
    for event in record.events.values():
        for repair in event.repairs:
            replay_id, ended_at = repair["replay_id"], _ended_at(event, repair)
            for callback in series.get(replay_id, []):
                is_late = callback.at > ended_at + bounds.callback_grace_seconds
                if is_late and not record.is_disturbed(
                    ended_at, callback.at, bounds.callback_copying_faults
                ):
                    what = (
                        f"{replay_id} was called {callback.at - ended_at:.1f} s after it had ended"
                    )
                    yield Violation(
                        Rule.ATTEMPT_ORDER, what, (event.id, replay_id), (ended_at, callback.at)
                    )


def repairs_are_single(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """An acknowledged reprocess is a repair; an incident's repairs follow each other, and an answer
    names the active one.
    """
    for request in record.reprocesses:
        if request.is_acknowledged and request.answered_at is not None:
            event, replay_id = (
                record.events.get(request.body["event_id"]),
                request.answer["replay_id"],
            )
            repair = (
                next((one for one in event.repairs if one["replay_id"] == replay_id), None)
                if event
                else None
            )
            ids, at = (
                (request.body["event_id"], replay_id, request.id),
                (request.sent_at, request.answered_at),
            )
            if event is None or repair is None:
                yield Violation(
                    Rule.LOST_REPROCESS, f"{replay_id} was acknowledged, and is not there", ids, at
                )
            elif not _was_active(event, repair, request.sent_at, request.answered_at, bounds):
                what = f"{replay_id} was answered while it was not the active repair"
                yield Violation(Rule.TWO_REPAIRS, what, ids, at)
    for event in record.events.values():
        repairs = sorted(event.repairs, key=lambda repair: instant(repair["requested_at"]))
        for before, after in pairwise(repairs):
            if instant(after["requested_at"]) < _ended_at(event, before) - bounds.clock_seconds:
                what = f"{after['replay_id']} began while {before['replay_id']} was active"
                at = (instant(before["requested_at"]), instant(after["requested_at"]))
                yield Violation(
                    Rule.TWO_REPAIRS, what, (event.id, before["replay_id"], after["replay_id"]), at
                )


def extra_callbacks(record: Record) -> int:
    """How many callbacks are copies of another."""
    return len(record.callbacks) - len(
        {(callback.replay_id, callback.number) for callback in record.callbacks}
    )


def _is_signed(callback: Callback, secret: str) -> bool:
    headers = callback.headers
    timestamp, nonce = (
        headers.get("x-sendpromptly-timestamp", ""),
        headers.get("x-sendpromptly-nonce", ""),
    )
    signed = f"{timestamp}.{nonce}.{callback.body}".encode()
    own = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    if not timestamp.isdigit() or not hmac.compare_digest(
        own, headers.get("x-sendpromptly-signature", "")
    ):
        return False
    # Not `verify`, which would compare the timestamp with the clock of the reader.
    at = datetime.fromtimestamp(int(timestamp), UTC)
    standard = Webhook(secret).sign(msg_id=callback.replay_id, timestamp=at, data=callback.body)
    is_named = (headers.get("webhook-id"), headers.get("webhook-timestamp")) == (
        callback.replay_id,
        timestamp,
    )
    return is_named and standard in headers.get("webhook-signature", "").split()


def _is_copy(record: Record, before: Callback, callback: Callback, bounds: Bounds) -> bool:
    """Whether a fault may have kept the first from being recorded."""
    end = min(callback.at, before.at + bounds.callback_recorded_within_seconds)
    return record.is_disturbed(before.at, end, bounds.callback_copying_faults)


def _was_held_up(record: Record, callback: Callback, higher: Callback, bounds: Bounds) -> bool:
    """Whether a stopped process may have sent this late:

    it began before the higher one, and nobody can call it back.
    """
    stops = tuple(
        pattern for pattern in bounds.callback_copying_faults if pattern.startswith("stop:")
    )
    return record.is_disturbed(higher.at, callback.at, stops)


def _was_active(event: Event, repair: Json, start: float, end: float, bounds: Bounds) -> bool:
    """Whether the repair was active at some moment between the two."""
    began_at, ended_at = instant(repair["requested_at"]), _ended_at(event, repair)
    return began_at <= end + bounds.clock_seconds and ended_at >= start - bounds.clock_seconds


def _ended_at(event: Event, repair: Json) -> float:
    """When the timeline ends the repair:

    failed, or with its incident; infinity while neither has come.
    """
    failed = [
        instant(one["at"])
        for one in event.timeline("repair_failed")
        if one["replay_id"] == repair["replay_id"]
    ]
    resolved = [instant(one["at"]) for one in event.timeline("incident_resolved")]
    return min((*failed, *resolved), default=float("inf"))


def _number(callback: Callback) -> int:
    return callback.number


def _by_repair(record: Record) -> dict[str, list[Callback]]:
    """The callbacks of each repair, as they came."""
    series: defaultdict[str, list[Callback]] = defaultdict(list)
    for callback in record.callbacks:
        series[callback.replay_id].append(callback)
    return series
