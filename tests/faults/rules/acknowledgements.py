"""Rules about what the client says: no receipt and no result is lost, none counts twice, and every
refusal has its reason.

Each function takes a record and yields what it violates. Called by `checker`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.faults.rules.reading import identity_of, instant
from tests.faults.rules.record import Event, Identity, Record, Request, Said
from tests.faults.rules.verdict import Bounds, Rule, Violation

ENDED_WELL = {"applied", "recovered", "closed"}
FOR_NOW = {429, 503}


def receipts_are_kept(record: Record) -> Iterator[Violation]:
    """Every acknowledged receipt is an observed event, as it was answered; every observed event is
    one receipt that was sent.
    """
    by_identity: defaultdict[Identity, list[Said]] = defaultdict(list)
    for said in record.receipts:
        by_identity[identity_of(said.body)].append(said)
    for identity, group in by_identity.items():
        yield from _answers_of_one_receipt(
            record, identity, [answer for said in group for answer in said.answers]
        )
    for event in record.events.values():
        sent = by_identity.get(event.identity, [])
        if event.shown["internal_reference"] not in {
            said.body["internal_reference"] for said in sent if said.may_hold_from
        }:
            yield Violation(
                Rule.UNEXPLAINED_EVENT, f"no receipt that was sent explains {event.id}", (event.id,)
            )
    counted = Counter(event.identity for event in record.events.values())
    for event in record.events.values():
        if counted[event.identity] > 1:
            what = f"{counted[event.identity]} events are {' '.join(event.identity)}"
            yield Violation(
                Rule.DOUBLED_RECEIPT, what, (event.id, *_ids(by_identity.get(event.identity, [])))
            )


def results_are_kept(record: Record) -> Iterator[Violation]:
    """Every acknowledged result is on the timeline of the event that it names, and what it decides
    is the state.
    """
    for said in record.results:
        if said.acknowledged_at is None:
            continue
        event = record.events.get(said.event_id or "")
        at, ids = (said.acknowledged_at,), (said.event_id or "", *said.ids)
        if event is None:
            yield Violation(
                Rule.LOST_RESULT,
                f"{_described(said)} was acknowledged, and its event is not known",
                ids,
                at,
            )
        elif any(answer.answer.get("event_id") != event.id for answer in said.answers):
            yield Violation(
                Rule.LOST_RESULT, f"{_described(said)} was acknowledged for another event", ids, at
            )
        elif said.acknowledged_at <= event.observed_at:
            if _fingerprint(said.body) not in _stored(event):
                yield Violation(
                    Rule.LOST_RESULT,
                    f"{_described(said)} was acknowledged, and is not on the timeline",
                    ids,
                    at,
                )
            if (what := _ineffective(event, said)) is not None:
                yield Violation(Rule.INEFFECTIVE_RESULT, what, ids, at)


def results_are_explained(record: Record) -> Iterator[Violation]:
    """Nothing is stored as a result, and no receipt ends well, that nobody reported; nothing is
    stored more often than said.
    """
    for event in record.events.values():
        sent = Counter(
            _fingerprint(said.body) for said in event.results if said.may_hold_from is not None
        )
        for fingerprint, count in _stored(event).items():
            if count > sent[fingerprint]:
                result = " ".join(part for part in fingerprint if part)
                what = f"{result} is stored {count} times and was said {sent[fingerprint]} times"
                yield Violation(Rule.UNEXPLAINED_RESULT, what, (event.id,))
        if event.state in {"applied", "recovered"} and not event.said("success"):
            yield Violation(
                Rule.UNEXPLAINED_RESULT,
                f"{event.id} is {event.state}, and nobody reported success",
                (event.id,),
            )


def answers_are_right(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """Repeats got the same answer, and every refusal has its reason."""
    for said in (*record.receipts, *record.results):
        different = [one for one in said.answers if one.answer != said.answers[0].answer]
        if different:
            at = tuple(one.answered_at or one.sent_at for one in said.answers)
            yield Violation(
                Rule.UNEQUAL_ANSWERS,
                f"{said.endpoint} {said.key} was answered in different ways",
                said.ids,
                at,
            )
    refusals = Refusals(record, bounds)
    for request in record.requests:
        if (
            request.status is not None
            and not request.is_acknowledged
            and not refusals.is_right(request)
        ):
            code = request.answer.get("code", "")
            what = f"{request.endpoint} was refused with {request.status} {code} without a reason"
            yield Violation(
                Rule.WRONG_STATUS,
                what,
                (request.id, request.order),
                (request.sent_at, request.answered_at or 0.0),
            )


class Refusals:
    """Judges refusals: whether what else was sent, or a fault, gives the reason."""

    def __init__(self, record: Record, bounds: Bounds) -> None:
        self._record = record
        self._bounds = bounds
        self._by_key: defaultdict[tuple[str, str | None], list[Request]] = defaultdict(list)
        self._by_identity: defaultdict[Identity, list[Request]] = defaultdict(list)
        for request in record.requests:
            self._by_key[request.endpoint, request.key].append(request)
            if request.endpoint == "receipt":
                self._by_identity[identity_of(request.body)].append(request)

    def is_right(self, request: Request) -> bool:
        """Whether the request had to be refused as it was."""
        match request.status:
            case status if status in FOR_NOW:
                start = request.sent_at - self._bounds.settling_seconds
                return self._record.is_disturbed(start, request.answered_at or request.sent_at)
            case 404:
                return self._is_unknown(request)
            case 409:
                return self._conflicts(request)
            case _:
                return False

    def _is_unknown(self, request: Request) -> bool:
        """A result for a receipt that was not acknowledged before, or of a repair that is not the
        event's.
        """
        if request.endpoint != "result":
            return False
        named = next((one for one in self._record.results if request in one.requests), None)
        event = self._record.events.get(named.event_id or "") if named else None
        replay_id = request.body.get("replay_id")
        if event is None or (
            replay_id and replay_id not in {repair["replay_id"] for repair in event.repairs}
        ):
            return True
        return all(
            (said.acknowledged_at or request.sent_at) >= request.sent_at for said in event.receipts
        )

    def _conflicts(self, request: Request) -> bool:
        others = [
            one for one in self._by_key[request.endpoint, request.key] if one.id != request.id
        ]
        match request.answer.get("code"):
            case "idempotency_in_progress":
                end = request.answered_at or request.sent_at
                return any(
                    one.sent_at <= end and (one.answered_at or end) >= request.sent_at
                    for one in others
                )
            case "idempotency_conflict":
                return any(one.body != request.body for one in others)
            case "receipt_conflict":
                facts = ("event_type", "internal_reference", "shopify_shop_domain")
                same = self._by_identity[identity_of(request.body)]
                return any(
                    one.body.get(fact) != request.body.get(fact) for one in same for fact in facts
                )
            case "incident_resolved":
                event = self._record.events.get(request.body.get("event_id", ""))
                resolved_at = event.incident.resolved_at if event and event.incident else None
                return resolved_at is not None and resolved_at <= (
                    request.answered_at or request.sent_at
                )
            case _:
                return False


def _answers_of_one_receipt(
    record: Record, identity: Identity, answers: list[Request]
) -> Iterator[Violation]:
    answered = {
        (answer.answer.get("event_id", ""), answer.answer.get("timeout_at")) for answer in answers
    }
    ids = (*sorted({event_id for event_id, _ in answered}), *(answer.id for answer in answers))
    at = tuple(answer.answered_at or answer.sent_at for answer in answers)
    if len(answered) > 1:
        yield Violation(
            Rule.UNSTABLE_RECEIPT,
            f"one receipt was answered with {len(answered)} events or timeouts",
            ids,
            at,
        )
    for event_id, timeout_at in sorted(answered):
        event = record.events.get(event_id)
        if event is None:
            yield Violation(
                Rule.LOST_RECEIPT, f"{event_id} was acknowledged, and is not there", ids, at
            )
        elif event.identity != identity:
            yield Violation(
                Rule.UNSTABLE_RECEIPT, f"{event_id} was answered to another receipt", ids, at
            )
        elif timeout_at is None or instant(timeout_at) != event.timeout_at:
            what = (
                f"{event_id} was acknowledged with timeout {timeout_at}, and has"
                f" {event.shown['timeout_at']}"
            )
            yield Violation(Rule.UNSTABLE_RECEIPT, what, ids, at)


def _ineffective(event: Event, said: Said) -> str | None:
    """What of the state contradicts an acknowledged result; None when nothing does."""
    status, replay_id = said.body["status"], said.body.get("replay_id")
    repair = next((one for one in event.repairs if one["replay_id"] == replay_id), None)
    is_resolved = event.incident is not None and event.incident.state == "resolved"
    if status == "success" and event.state not in ENDED_WELL:
        return f"success was acknowledged, and {event.id} is {event.state}"
    if status == "success" and replay_id and not is_resolved:
        return f"success of {replay_id} was acknowledged, and the incident is not resolved"
    if (
        status == "failed"
        and replay_id
        and (repair is None or repair["state"] in {"calling", "awaiting_result"})
    ):
        return (
            f"failure of {replay_id} was acknowledged, and it is"
            f" {repair['state'] if repair else 'unknown'}"
        )
    return None


def _fingerprint(result: dict[str, str]) -> tuple[str | None, ...]:
    return (result["status"], result.get("replay_id"), result.get("error_code"))


def _stored(event: Event) -> Counter[tuple[str | None, ...]]:
    """How often each result is on the timeline:

    one that was repeated without changing anything is there once, with its count.
    """
    stored: Counter[tuple[str | None, ...]] = Counter()
    for entry in event.timeline("result_received"):
        stored[_fingerprint(entry)] += 1 + entry.get("repeats", 0)
    return stored


def _described(said: Said) -> str:
    return " ".join(part for part in _fingerprint(said.body) if part)


def _ids(group: list[Said]) -> tuple[str, ...]:
    return tuple(name for said in group for name in said.ids)
